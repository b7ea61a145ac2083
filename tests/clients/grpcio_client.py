"""A Python grpcio client's journey through a gateway to the echo service: every call shape, deadlines, metadata, errors.

Usage: grpcio_client.py --target HOST:PORT [--token TOKEN]

Prints one JSON object, a member for each step, and judges nothing: the caller compares. A failed call is a member
{"code", "message", "reason", "trailers"} in the place of its answer.
"""

import argparse
import base64
import json
import queue
import time

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import stubs

stubs.generate("echo/v1/echo_service.proto")

from echo.v1 import echo_service_pb2 as pb2
from echo.v1 import echo_service_pb2_grpc as pb2_grpc

# Generous: only the steps that are about deadlines shall ever meet one.
PATIENCE = 20


class Journey:
    def __init__(self, target, token):
        self.channel = grpc.insecure_channel(target)
        self.stub = pb2_grpc.EchoServiceStub(self.channel)
        self.metadata = [("authorization", f"Bearer {token}")] if token else []

    def unary(self):
        answer, call = self.stub.Say.with_call(pb2.SayRequest(text="grüezi"), PATIENCE, metadata=self.metadata)
        return {"text": answer.text, "initial": metadata_of(call.initial_metadata())}

    def server_stream(self):
        answers = self.stub.Count(pb2.CountRequest(to=5, filler_bytes=1000), PATIENCE, metadata=self.metadata)
        return [answer.number for answer in answers]

    def large_stream(self):
        """Larger than any flow-control window on the way: passes only if nobody holds the whole."""
        answers = self.stub.Count(pb2.CountRequest(to=64, filler_bytes=256 * 1024), PATIENCE, metadata=self.metadata)
        return sum(len(answer.filler) for answer in answers)

    def client_stream(self):
        requests = (pb2.CollectRequest(text=text) for text in ("one", "two", "three"))
        answer = self.stub.Collect(requests, PATIENCE, metadata=self.metadata)
        return {"text": answer.text, "messages": answer.messages}

    def bidi(self):
        """Says the next line only after the answer to the last: a gateway that collects a stream would hang here."""
        lines, answers = Lines(), []
        replies = self.stub.Chat(lines, PATIENCE, metadata=self.metadata)
        for text in ("ping", "pang", "pong"):
            lines.say(text)
            answers.append(next(replies).text)
        lines.end()
        return answers + [reply.text for reply in replies]

    def seen_by_service(self):
        sent = self.metadata + [("x-request-id", "grpcio-journey-1"), ("echo-note", "kept"), ("echo-bytes-bin", b"\0\1")]
        answer = self.stub.Metadata(pb2.MetadataRequest(), 2.0, metadata=sent)
        return {"metadata": dict(answer.metadata), "remaining_milliseconds": answer.remaining_milliseconds}

    def deadline(self):
        started = time.monotonic()
        fault = refused(lambda: self.stub.Slow(pb2.SlowRequest(milliseconds=5000), 0.3, metadata=self.metadata))
        return {**fault, "after_milliseconds": int((time.monotonic() - started) * 1000)}

    def failure(self):
        request = pb2.FailRequest(code=grpc.StatusCode.FAILED_PRECONDITION.value[0], message="as asked")
        return refused(lambda: self.stub.Fail(request, PATIENCE, metadata=self.metadata))

    def without_token(self):
        return refused(lambda: self.stub.Say(pb2.SayRequest(text="who am I"), PATIENCE))

    def unknown_method(self):
        call = self.channel.unary_unary("/echo.v1.EchoService/Nowhere", lambda _: b"", lambda _: None)
        return refused(lambda: call(None, PATIENCE, metadata=self.metadata))

    def steps(self):
        return (
            self.unary,
            self.server_stream,
            self.large_stream,
            self.client_stream,
            self.bidi,
            self.seen_by_service,
            self.deadline,
            self.failure,
            self.without_token,
            self.unknown_method,
        )


class Lines:
    """An iterator of requests that its owner feeds one by one."""

    def __init__(self):
        self.queue = queue.Queue()

    def say(self, text):
        self.queue.put(pb2.ChatRequest(text=text))

    def end(self):
        self.queue.put(None)

    def __iter__(self):
        return self

    def __next__(self):
        text = self.queue.get()
        if text is None:
            raise StopIteration
        return text


def refused(call):
    """What a call that should fail ended with, or its answer if it did not."""
    try:
        return {"code": "OK", "answer": str(call())}
    except grpc.RpcError as error:
        return fault_of(error)


def fault_of(error):
    details = rpc_status.from_call(error)
    reasons = []
    for detail in details.details if details else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            reasons.append(f"{info.domain}/{info.reason}")
    return {
        "code": error.code().name,
        "message": error.details(),
        "reason": reasons[0] if reasons else None,
        "trailers": metadata_of(error.trailing_metadata()),
    }


def metadata_of(metadata):
    return {
        key: base64.b64encode(value).decode() if isinstance(value, bytes) else value for key, value in metadata or ()
    }


def attempt(step):
    try:
        return step()
    except grpc.RpcError as error:
        return fault_of(error)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True, help="the gateway, host:port, plaintext")
    parser.add_argument("--token", help="an access token")
    arguments = parser.parse_args()
    journey = Journey(arguments.target, arguments.token)
    print(json.dumps({step.__name__: attempt(step) for step in journey.steps()}, ensure_ascii=False))


if __name__ == "__main__":
    main()
