"""Calls the echo service through a gateway by websockets, in text and in binary: every call shape, a failure, a close amid a call.

Usage: websockets_client.py --target HOST:PORT --token TOKEN

Prints one JSON object for each format, a member for each step, and judges nothing: the caller compares.
"""

import argparse
import asyncio
import json

import websockets
from google.protobuf import json_format

import stubs

stubs.generate("echo/v1/echo_service.proto")

from echo.v1 import echo_service_pb2 as pb2

SERVICE = pb2.DESCRIPTOR.services_by_name["EchoService"]

# No close came.
ABNORMAL = 1006


class Call:
    """A call that is open: messages in, and what came until it was closed."""

    def __init__(self, socket, method, format):
        self.socket, self.method, self.format = socket, method, format
        self.messages, self.error = [], None

    async def send(self, **fields):
        message = getattr(pb2, self.method.input_type.name)(**fields)
        is_json = self.format == "json"
        await self.socket.send(json_format.MessageToJson(message) if is_json else message.SerializeToString())

    async def end(self):
        await self.socket.send("")

    def read(self, data):
        answer = getattr(pb2, self.method.output_type.name)()
        if isinstance(data, bytes):
            answer.ParseFromString(data)
        else:
            document = json.loads(data)
            if "@error" in document:
                self.error = document["@error"]
                return
            json_format.ParseDict(document, answer)
        self.messages.append(answer.number if hasattr(answer, "number") else answer.text)

    async def closed(self):
        try:
            async for data in self.socket:
                self.read(data)
        except websockets.ConnectionClosedError:
            # So it calls every close but that of a call that went well.
            pass
        code, reason = self.socket.close_code, self.socket.close_reason
        seen = {"messages": self.messages, "code": code, "reason": reason, "wasClean": code != ABNORMAL}
        return seen | ({"error": self.error} if self.error else {})


async def drive(url, token, format):
    async def open(name, token=token):
        subprotocols = [f"accord.{format}"] + ([f"accord.bearer.{token}"] if token else [])
        socket = await websockets.connect(f"{url}/echo.v1.EchoService/{name}", subprotocols=subprotocols)
        return Call(socket, SERVICE.methods_by_name[name], format)

    async def step(call, *requests):
        for request in requests:
            await call.send(**request)
        await call.end()
        return await call.closed()

    async def anonymous():
        """It may be closed before all is said."""
        call = await open("Say", None)
        try:
            return await step(call, {"text": "hi"})
        except websockets.ConnectionClosed:
            return await call.closed()

    seen = {
        "unary": await step(await open("Say"), {"text": "hi"}),
        "stream": await step(await open("Count"), {"to": 3}),
        "client_stream": await step(await open("Collect"), {"text": "a"}, {"text": "b"}),
        "failure": await step(await open("Fail"), {"code": 9, "message": "as asked: käse"}),
        "anonymous": await anonymous(),
    }
    chat = await open("Chat")
    for text in ("a", "b"):
        await chat.send(text=text)
        # Before the other side has heard the rest, or the end.
        chat.read(await chat.socket.recv())
    await chat.end()
    seen["bidi"] = await chat.closed()
    left = await open("Slow")
    await left.send(milliseconds=20000)
    await left.socket.close(1000)
    seen["left"] = await left.closed()
    return seen


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--token", required=True)
    given = parser.parse_args()
    seen = {format: await drive(f"ws://{given.target}", given.token, format) for format in ("json", "proto")}
    print(json.dumps(seen))


asyncio.run(main())
