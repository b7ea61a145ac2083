"""Reads the gateway's OpenAPI document, makes a call of each of its examples, and holds the answers against it.

It knows of the sample nothing but the order of the calls, and values that its handlers accept where an example could not know.
"""

import argparse
import http.client
import json
import urllib.parse

from openapi_document import Document

# What comes first makes what the next ones ask for.
ORDER = [
    "catalog.v1.ProductService.CreateProduct",
    "catalog.v1.ProductService.GetProduct",
    "catalog.v1.ProductService.ListProducts",
    "catalog.v1.ProductService.UpdateProduct",
    "catalog.v1.ProductService.WatchProducts",
    "orders.v1.OrderService.AddItem",
    "orders.v1.OrderService.GetBasket",
    "orders.v1.OrderService.PlaceOrder",
    "orders.v1.OrderService.GetOrder",
]
ACCEPTED = {"id": "oak-desk", "productId": "oak-desk", "currency": "EUR"}
# Of another page, and of another state of the product.
LEFT_OUT = ("pageToken", "version")


def accepted(value):
    """An example with what a handler asks of some of its values."""
    if isinstance(value, list):
        return [accepted(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: ACCEPTED.get(name, accepted(item)) for name, item in value.items() if name not in LEFT_OUT}


class Client:
    def __init__(self, target, token):
        self.connection = http.client.HTTPConnection(target, timeout=30)
        self.token = token
        self.problems = []

    def send(self, method, target, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        content = None if body is None else json.dumps(body)
        if content is not None:
            headers["content-type"] = "application/json"
        self.connection.request(method, target, content, headers)
        response = self.connection.getresponse()
        return response, response.read()

    def expect(self, operation, condition, problem):
        if not condition:
            self.problems.append(f"{operation.id}: {problem}")


class Request:
    """What the examples of an operation make."""

    def __init__(self, client, document, operation):
        path, query, self.headers = operation.path, [], {}
        for parameter in map(document.resolved, operation.described["parameters"]):
            name, example = parameter["name"], parameter.get("example")
            if parameter["in"] == "path":
                value = str(ACCEPTED.get(name, example))
                path = path.replace("{" + name + "}", urllib.parse.quote(value, safe=""))
            elif parameter["in"] == "query" and name not in LEFT_OUT:
                values = example if isinstance(example, list) else [example]
                query += [(name, json.dumps(value) if isinstance(value, bool) else value) for value in values]
            elif parameter["in"] == "header":
                self.headers[name] = str(example)
        self.method, self.path = operation.method.upper(), path
        self.query = urllib.parse.urlencode(query)
        content = operation.described.get("requestBody", {}).get("content", {})
        self.body = None
        if "application/json" in content:
            example = content["application/json"]["example"]
            unfit = document.unfit(operation.pointer("requestBody", "content", "application/json", "schema"), example)
            client.expect(operation, not unfit, f"its example: {unfit}")
            self.body = accepted(example)

    def target(self, query=None):
        query = self.query if query is None else query
        return self.path + ("?" + query if query else "")


def call(client, document, operation):
    """The answer to an operation's example, which fits what the document says of it."""
    request = Request(client, document, operation)
    headers = dict(request.headers, authorization=f"Bearer {client.token}")
    response, body = client.send(request.method, request.target(), request.body, **headers)
    media_type = (response.headers.get("content-type") or "").split(";")[0]
    described = document.response(operation, response.status)
    client.expect(operation, response.status < 300, f"{response.status}: {body[:400]!r}")
    client.expect(operation, media_type in described["content"], f"{response.status} as {media_type}")
    for name, header in described.get("headers", {}).items():
        if document.resolved(header) is document.document["components"]["headers"]["RequestId"]:
            client.expect(operation, response.headers.get(name) == request.headers[name], f"without its {name}")
    lines = body.splitlines() if media_type == "application/x-ndjson" else [body]
    for line in lines:
        unfit = document.unfit_answer(operation, response.status, media_type, json.loads(line))
        client.expect(operation, not unfit, f"{line[:200]!r}: {unfit}")
    return json.loads(lines[0])


def refusals(client, document, operation):
    """The errors that the document promises for a call without a credential, in both forms, and for a parameter too many."""
    request = Request(client, document, operation)
    media_types = ("application/json", "application/problem+json")
    wishes = [(401, request.target(), None, media_type) for media_type in media_types]
    unknown = request.target("nowhere=1" + ("&" + request.query if request.query else ""))
    wishes.append((400, unknown, f"Bearer {client.token}", "application/json"))
    for status, target, token, accept in wishes:
        headers = dict(request.headers, authorization=token, accept=accept)
        response, body = client.send(request.method, target, request.body, **headers)
        client.expect(operation, response.status == status, f"{response.status} instead of {status}: {body[:200]!r}")
        unfit = document.unfit_answer(operation, response.status, accept, json.loads(body))
        client.expect(operation, not unfit, f"{body[:200]!r}: {unfit}")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--target", required=True)
    arguments.add_argument("--token", required=True)
    given = arguments.parse_args()
    client = Client(given.target, given.token)
    _, body = client.send("GET", "/openapi.json")
    document = Document(json.loads(body))
    by_id = {operation.id: operation for operation in document.operations}
    for name in ORDER:
        refusals(client, document, by_id[name])
        answer = call(client, document, by_id[name])
        if name.endswith("PlaceOrder"):
            ACCEPTED["id"] = answer["id"]
    # What the cache has for other services is no part of the sample.
    left = sorted(name for name in set(by_id) - set(ORDER) if not name.startswith("accord."))
    print(json.dumps({"document": document.problems(), "calls": client.problems, "not_called": left}))


if __name__ == "__main__":
    main()
