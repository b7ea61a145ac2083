"""The relay in Python (grpc.aio), with the interceptors that the guide shows.

Usage: main.py --port PORT --gateway HOST:PORT --auth HOST:PORT --client-id ID --client-secret-file FILE
"""

import argparse
import asyncio
import sys
from pathlib import Path

import grpc

CLIENTS = Path(__file__).parents[2]
sys.path[:0] = [str(CLIENTS), str(CLIENTS / "interceptors/python")]
import stubs

stubs.generate("echo/v1/echo_service.proto", "relay/v1/relay_service.proto")
stubs.generate("accord/policy/v1/policy.proto", "accord/auth/v1/token_service.proto")

from access_token import AccessToken
from call_context import OneAnswer, Serving, StreamOfAnswers
from echo.v1 import echo_service_pb2 as echo
from echo.v1.echo_service_pb2_grpc import EchoServiceStub
from relay.v1 import relay_service_pb2 as relay
from relay.v1 import relay_service_pb2_grpc as relay_grpc

from lifetime import the_end


class Relay(relay_grpc.RelayServiceServicer):
    def __init__(self, neighbour):
        self.neighbour = neighbour

    async def Metadata(self, request, context):
        seen = await self.neighbour.Metadata(echo.MetadataRequest())
        return relay.MetadataResponse(metadata=seen.metadata, remaining_milliseconds=seen.remaining_milliseconds)

    async def Slow(self, request, context):
        await self.neighbour.Slow(echo.SlowRequest(milliseconds=request.milliseconds))
        return relay.SlowResponse()

    async def Count(self, request, context):
        async for said in self.neighbour.Count(echo.CountRequest(to=request.to, filler_bytes=request.filler_bytes)):
            yield relay.CountResponse(number=said.number)

    async def Fail(self, request, context):
        await self.neighbour.Fail(echo.FailRequest(code=request.code, message="as asked"))
        return relay.FailResponse()


async def main(arguments):
    secret = Path(arguments.client_secret_file).read_text().strip()
    token = AccessToken(grpc.aio.insecure_channel(arguments.auth), arguments.client_id, secret)
    interceptors = [OneAnswer(token), StreamOfAnswers(token)]
    neighbour = EchoServiceStub(grpc.aio.insecure_channel(arguments.gateway, interceptors=interceptors))
    server = grpc.aio.server(interceptors=[Serving()], options=[("grpc.so_reuseport", 0)])
    relay_grpc.add_RelayServiceServicer_to_server(Relay(neighbour), server)
    server.add_insecure_port(f"127.0.0.1:{arguments.port}")
    await server.start()
    await the_end()
    await server.stop(grace=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--port", "--gateway", "--auth", "--client-id", "--client-secret-file"):
        parser.add_argument(name, required=True)
    asyncio.run(main(parser.parse_args()))
