"""A service Accord never met: Python grpcio with server reflection, v1alpha only, as that package has it.

Usage: echo_server.py [--port PORT]      (0, the default, takes a free port)

Prints one line of JSON, {"port": N}, once it serves, and stops on SIGTERM, SIGINT or the end of its standard input,
so that it never outlives whoever started it.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import time

import grpc
from grpc_reflection.v1alpha import reflection

import stubs
from lifetime import the_end

stubs.generate("echo/v1/echo_service.proto")

from echo.v1 import echo_service_pb2 as pb2
from echo.v1 import echo_service_pb2_grpc as pb2_grpc

NO_DEADLINE = -1
CODES = {code.value[0]: code for code in grpc.StatusCode}


def remaining_milliseconds(context):
    remaining = context.time_remaining()
    return NO_DEADLINE if remaining is None else int(remaining * 1000)


def text_of(key, value):
    return base64.b64encode(value).decode() if key.endswith("-bin") else value


class Journal:
    """What the service has seen: a call is written down when it arrives and marked when it ends."""

    def __init__(self):
        self.entries = []

    @contextlib.contextmanager
    def call(self, context, method):
        metadata = dict(context.invocation_metadata())
        entry = pb2.Entry(
            method=method,
            remaining_milliseconds=remaining_milliseconds(context),
            request_id=metadata.get("x-request-id", ""),
            traceparent=metadata.get("traceparent", ""),
        )
        self.entries.append(entry)
        try:
            yield
        except asyncio.CancelledError:
            entry.cancelled = True
            raise
        finally:
            entry.ended = True


class Echo(pb2_grpc.EchoServiceServicer):
    """Streams are written with `context.write`, so that a cancelled call raises where it waits, not at some later time."""

    def __init__(self):
        self.journal = Journal()
        self.said = 0

    async def Say(self, request, context):
        with self.journal.call(context, "Say"):
            self.said += 1
            return pb2.SayResponse(text=request.text, call=self.said)

    async def Slow(self, request, context):
        with self.journal.call(context, "Slow"):
            started = time.monotonic()
            await asyncio.sleep(request.milliseconds / 1000)
            return pb2.SlowResponse(waited_milliseconds=int((time.monotonic() - started) * 1000))

    async def Count(self, request, context):
        with self.journal.call(context, "Count"):
            filler = bytes(request.filler_bytes)
            for number in range(1, request.to + 1):
                await context.write(pb2.CountResponse(number=number, filler=filler))

    async def Collect(self, requests, context):
        with self.journal.call(context, "Collect"):
            texts = [request.text async for request in requests]
            return pb2.CollectResponse(text=" ".join(texts), messages=len(texts))

    async def Chat(self, requests, context):
        with self.journal.call(context, "Chat"):
            async for request in requests:
                await context.write(pb2.ChatResponse(text=request.text))

    async def Metadata(self, request, context):
        with self.journal.call(context, "Metadata"):
            metadata = {key: text_of(key, value) for key, value in context.invocation_metadata()}
            remaining = remaining_milliseconds(context)
            return pb2.MetadataResponse(metadata=metadata, remaining_milliseconds=remaining, peer=context.peer())

    async def Fail(self, request, context):
        with self.journal.call(context, "Fail"):
            code = CODES.get(request.code, grpc.StatusCode.UNKNOWN)
            await context.abort(code, request.message, (("echo-failed", str(request.code)),))

    async def Journal(self, request, context):
        answer = pb2.JournalResponse(entries=self.journal.entries)
        if request.forget:
            self.journal.entries = []
        return answer


async def start(port):
    # Without SO_REUSEPORT a port that is taken is an error, not a share of somebody else's calls.
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    pb2_grpc.add_EchoServiceServicer_to_server(Echo(), server)
    names = (pb2.DESCRIPTOR.services_by_name["EchoService"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, bound


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="TCP port on loopback; 0 takes a free one")
    server, port = await start(parser.parse_args().port)
    print(json.dumps({"port": port}), flush=True)
    await the_end()
    await server.stop(grace=1)


if __name__ == "__main__":
    asyncio.run(main())
