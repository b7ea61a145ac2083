"""The sample service `orders` in Python: it calls catalog and cache through the gateway, in the name of whoever called it.

Usage: orders_server.py --port PORT --gateway HOST:PORT --auth HOST:PORT --client-id orders --client-secret-file FILE

Orders are kept in memory, for as long as it runs. It stops on SIGTERM, SIGINT or the end of its standard input.
"""

import argparse
import asyncio
import sys
import time
import uuid
from pathlib import Path

import grpc
import jwt
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection

sys.path.append(str(Path(__file__).parent / "interceptors/python"))
import stubs
from lifetime import the_end

ACCORD = ("auth/v1/key_service", "auth/v1/token_service", "cache/v1/cache_service", "cache/v1/read_through_service")
SAMPLE = ("catalog/v1/product_service.proto", "orders/v1/order_service.proto")
stubs.generate("accord/policy/v1/policy.proto", *(f"accord/{name}.proto" for name in ACCORD), *SAMPLE)

from access_token import AccessToken
from accord.cache.v1 import cache_service_pb2 as cache
from accord.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from call_context import OneAnswer, Serving, StreamOfAnswers
from catalog.v1 import product_service_pb2 as catalog
from catalog.v1.product_service_pb2_grpc import ProductServiceStub
from orders.v1 import order_service_pb2 as orders
from orders.v1 import order_service_pb2_grpc as orders_grpc
from passport import Passports

NAMESPACE = "baskets"
ISSUER = "https://accord.local"
MOST_OF_ONE, MOST_PRODUCTS = 99, 50
# How often a change is tried while others change the same basket.
ATTEMPTS = 10


class Orders(orders_grpc.OrderServiceServicer):
    def __init__(self, gateway, passports):
        self.products, self.cache, self.passports = ProductServiceStub(gateway), CacheServiceStub(gateway), passports
        self.placed = {}

    async def GetBasket(self, request, context):
        basket, _ = await self.basket(await self.caller(context))
        return orders.GetBasketResponse(basket=basket)

    async def AddItem(self, request, context):
        owner = await self.caller(context)
        if not 1 <= request.quantity <= MOST_OF_ONE:
            await invalid(context, "quantity", "must be 1 to 99")
        item = await self.item(request.product_id, request.quantity)
        if item is None:
            await invalid(context, "product_id", "is no product of the catalog that has a price")
        for _ in range(ATTEMPTS):
            basket, version = await self.basket(owner)
            if problem := add(basket, item):
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, problem)
            if await self.replace(owner, basket, version):
                return orders.AddItemResponse(basket=basket)
        await context.abort(grpc.StatusCode.ABORTED, "others changed the basket at every attempt: try again")

    async def PlaceOrder(self, request, context):
        owner = await self.caller(context)
        basket, version = await self.basket(owner)
        fresh = (("cache-control", "no-cache"),)
        items = [await self.item(item.product_id, item.quantity, fresh) for item in basket.items]
        if not items or None in items:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "there is nothing to order, or not at any price")
        order = orders.Order(id=str(uuid.uuid4()), items=items, total=total(items))
        order.create_time.FromSeconds(int(time.time()))
        self.placed[order.id] = (owner, order)
        # What was added meanwhile stays.
        await self.replace(owner, orders.Basket(), version)
        return orders.PlaceOrderResponse(order=order)

    async def GetOrder(self, request, context):
        caller = await self.caller(context)
        owner, order = self.placed.get(request.id, (None, None))
        if owner != caller:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"you have no order with the id `{request.id}`")
        return orders.GetOrderResponse(order=order)

    async def caller(self, context):
        """The principal of the passport; the call ends here where there is none."""
        try:
            return (await self.passports.claims(context.invocation_metadata()))["sub"]
        except jwt.InvalidTokenError as problem:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(problem))

    async def item(self, product_id, quantity, metadata=()):
        """So many of a product, at its price; none where it can't be had."""
        try:
            product = (await self.products.GetProduct(catalog.GetProductRequest(id=product_id), metadata=metadata)).product
        except grpc.aio.AioRpcError as failure:
            if failure.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                return None
            raise
        if not product.price.currency:
            return None
        return orders.Item(product_id=product.id, title=product.title, quantity=quantity, price=product.price)

    async def basket(self, owner):
        """What the cache holds, and its version; both empty where that is nothing."""
        try:
            entry = (await self.cache.Get(cache.GetRequest(namespace=NAMESPACE, key=owner))).entry
        except grpc.aio.AioRpcError as failure:
            if failure.code() == grpc.StatusCode.NOT_FOUND:
                return orders.Basket(), ""
            raise
        return orders.Basket.FromString(entry.value), entry.version

    async def replace(self, owner, basket, version):
        """Compare-and-set; whether the version was still that."""
        place = {"namespace": NAMESPACE, "key": owner, "expected_version": version}
        try:
            if basket.items:
                await self.cache.Put(cache.PutRequest(**place, value=basket.SerializeToString()))
            else:
                await self.cache.Delete(cache.DeleteRequest(**place))
        except grpc.aio.AioRpcError as failure:
            if failure.code() == grpc.StatusCode.ABORTED:
                return False
            raise
        return True


def add(basket, item):
    """Adds an item, to those of the same product where there are some; says what is wrong where it can't."""
    others = [held for held in basket.items if held.product_id != item.product_id]
    held = sum(held.quantity for held in basket.items if held.product_id == item.product_id)
    if held + item.quantity > MOST_OF_ONE or len(others) == MOST_PRODUCTS:
        return "the basket may not hold more"
    if any(other.price.currency != item.price.currency for other in others):
        return "the basket holds prices in another currency"
    added = orders.Item(product_id=item.product_id, title=item.title, quantity=held + item.quantity, price=item.price)
    items = [*others, added]
    basket.CopyFrom(orders.Basket(items=items, total=total(items)))
    return None


def total(items):
    amount = sum(item.quantity * item.price.minor_units for item in items)
    return catalog.Price(currency=items[0].price.currency, minor_units=amount)


async def invalid(context, field, problem):
    """Ends the call: a field of its request is not as it must be."""
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=problem)
    status = status_pb2.Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message=f"`{field}` {problem}")
    status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    trailers = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, status.message, trailers)


async def main(arguments):
    auth = grpc.aio.insecure_channel(arguments.auth)
    token = AccessToken(auth, arguments.client_id, Path(arguments.client_secret_file).read_text().strip())
    gateway = grpc.aio.insecure_channel(arguments.gateway, interceptors=[OneAnswer(token), StreamOfAnswers(token)])
    server = grpc.aio.server(interceptors=[Serving()], options=[("grpc.so_reuseport", 0)])
    passports = Passports(auth, ISSUER, arguments.client_id)
    orders_grpc.add_OrderServiceServicer_to_server(Orders(gateway, passports), server)
    names = (orders.DESCRIPTOR.services_by_name["OrderService"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    server.add_insecure_port(f"127.0.0.1:{arguments.port}")
    await server.start()
    await the_end()
    await server.stop(grace=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--port", "--gateway", "--auth", "--client-id", "--client-secret-file"):
        parser.add_argument(name, required=True)
    asyncio.run(main(parser.parse_args()))
