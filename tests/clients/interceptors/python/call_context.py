"""Calls of neighbours carry on what came with the call that is being served (grpc.aio)."""

import contextvars
import inspect

import grpc

CARRIED_ON = ("x-accord-passport", "x-accord-criticality", "x-request-id", "traceparent", "tracestate")
PASSED_BACK = ("grpc-retry-pushback-ms", "grpc-status-details-bin")
served = contextvars.ContextVar("served", default=None)


class Serving(grpc.aio.ServerInterceptor):
    """Remembers which call is being served. Where a neighbour's failure is not handled, the call ends as that did."""

    async def intercept_service(self, continuation, details):
        handler = await continuation(details)
        for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
            if behaviour := getattr(handler, kind, None):
                make = getattr(grpc, f"{kind}_rpc_method_handler")
                return make(remembering(behaviour), handler.request_deserializer, handler.response_serializer)
        return handler


def remembering(behaviour):
    async def answer(request, context):
        served.set(context)
        try:
            if inspect.isasyncgenfunction(behaviour):
                async for message in behaviour(request, context):
                    await context.write(message)
            else:
                return await behaviour(request, context)
        except grpc.aio.AioRpcError as failure:
            trailers = ((key, value) for key, value in failure.trailing_metadata() or () if key in PASSED_BACK)
            await context.abort(failure.code(), failure.details(), tuple(trailers))

    return answer


class Outgoing:
    def __init__(self, token):
        self.token = token

    async def carry_on(self, continuation, details, request):
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        metadata["authorization"] = f"Bearer {await self.token.get()}"
        timeout, call = details.timeout, served.get()
        if call is None:
            return await continuation(details._replace(metadata=metadata), request)
        for key, value in call.invocation_metadata():
            if key in CARRIED_ON and key not in metadata:
                metadata.add(key, value)
        if (left := call.time_remaining()) is not None:
            # gRPC's core rounds up what it sends: by a millisecond below a second, from there on by 1 %, at most.
            left -= max(left / 100, 0.001)
            timeout = left if timeout is None else min(left, timeout)
        outgoing = await continuation(details._replace(metadata=metadata, timeout=timeout), request)
        call.add_done_callback(lambda _: outgoing.cancel())
        return outgoing


class OneAnswer(Outgoing, grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary = Outgoing.carry_on


class StreamOfAnswers(Outgoing, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream = Outgoing.carry_on
