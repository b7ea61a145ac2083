"""A gRPC server for any method: it keeps what arrives as bytes, and answers with the bytes it was told to."""

from concurrent import futures

import grpc


class Upstream(grpc.GenericRpcHandler):
    """Calls are told apart by `x-request-id`, which the gateway passes on."""

    def __init__(self):
        self.answers = {}
        self.seen = {}
        self.server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", 2**26)])
        self.server.add_generic_rpc_handlers([self])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def service(self, details):
        if details.method.startswith("/grpc.health."):
            return None
        request_id = dict(details.invocation_metadata).get("x-request-id")

        def answer(requests, _context):
            self.seen[request_id] = (details.method[1:], list(requests))
            yield from self.answers.get(request_id, [])

        return grpc.stream_stream_rpc_method_handler(answer)

    def stop(self):
        self.server.stop(grace=None).wait()
