"""The service's own access token: one for all calls, gotten anew before it ends."""

import asyncio
import time

import grpc

from accord.auth.v1 import token_service_pb2, token_service_pb2_grpc


class AccessToken:
    def __init__(self, auth, client_id, client_secret):
        self.client_id = client_id
        self.auth = token_service_pb2_grpc.TokenServiceStub(auth)
        grant = token_service_pb2.ClientCredentialsGrant(client_id=client_id, client_secret=client_secret)
        self.request = token_service_pb2.IssueRequest(client_credentials=grant)
        self.lock = asyncio.Lock()
        self.token, self.renews, self.ends = "", 0.0, 0.0

    async def get(self):
        # Under the lock, so that all who wait for a token share one login.
        async with self.lock:
            asked = time.monotonic()
            if asked >= self.renews:
                try:
                    issued = await self.auth.Issue(self.request, timeout=5)
                except grpc.aio.AioRpcError as failure:
                    # While auth is down, the token is good for the last third of its life.
                    if time.monotonic() >= self.ends:
                        raise self.unavailable(failure) from failure
                else:
                    life = issued.expires_in.ToTimedelta().total_seconds()
                    self.token, self.renews, self.ends = issued.access_token, asked + life * 2 / 3, asked + life
            return self.token

    def unavailable(self, failure):
        """The service's own fault, which is not to look like one of its caller's credential."""
        problem = f"this service could not log in to auth as `{self.client_id}`: {failure.code().name}"
        return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), problem)
