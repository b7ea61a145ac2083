"""Every binding of a set through the gateway, compared with what Python's json_format makes of the same messages."""

import http.client
import json
import random
import sys
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

sys.path.append(str(Path(__file__).parent.parent / "clients"))

import http_rules
from gateway import Gateway
from openapi_document import Document
from upstream import Upstream
from values import Values


class Set:
    """Descriptors, as a pool of their own."""

    def __init__(self, path):
        self.path = path
        self.pool = descriptor_pool.DescriptorPool()
        files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file
        for file in files:
            self.pool.Add(file)
        descriptors = [self.pool.FindFileByName(file.name) for file in files]
        self.services = [service for file in descriptors for service in file.services_by_name.values()]
        self.methods = sum(len(service.methods) for service in self.services)
        self.syntaxes = {file.syntax or "proto2" for file in files}
        self.bindings = [found for service in self.services for found in http_rules.bindings(service)]

    def names(self):
        return [service.full_name for service in self.services]


class Difference(Exception):
    """What came is not what the second implementation makes of it."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


class Drive:
    """Calls bindings one after the other, through one gateway to one upstream."""

    def __init__(self, descriptors, seed):
        self.set = descriptors
        self.values = Values(descriptors.pool, random.Random(seed))
        self.upstream = Upstream()
        try:
            self.gateway = Gateway(descriptors.path, descriptors.names(), self.upstream.port)
        except AssertionError:
            self.upstream.stop()
            raise
        self.connection = http.client.HTTPConnection(self.gateway.address, timeout=30)
        self.calls = 0
        self.document = self.read_document()
        self.operations = {(self.name(it), it.binding): it for it in self.document.operations}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.gateway.stop()
        self.upstream.stop()

    def read_document(self):
        self.connection.request("GET", "/openapi.json")
        return Document(json.loads(self.connection.getresponse().read()))

    @staticmethod
    def name(operation):
        service, method = operation.id.split("-")[0].rsplit(".", 1)
        return f"{service}/{method}"

    def differences(self, bindings):
        """What kind of thing is otherwise than expected, and a text, for each such binding."""
        for binding in bindings:
            try:
                self.call(binding)
            except Difference as difference:
                yield difference.kind, f"{binding}: {difference}"

    def call(self, binding):
        self.calls += 1
        request_id = f"call-{self.calls}"
        sent = self.values.message(binding.method.input_type)
        request = http_rules.request(binding, sent, self.values, self.set.pool)
        answers = self.answers(binding)
        self.upstream.answers[request_id] = [answer.SerializeToString() for answer in answers]
        response, body = self.send(request, request_id)
        method, seen = self.upstream.seen.pop(request_id, (None, []))
        if method not in (None, binding.name) and self.is_shadowed(binding, method, request):
            return
        said = f"{request.method} {request.target} {request.body[:300]!r}"
        if response.status != 200 or method != binding.name:
            raise Difference("answer", f"{said}: {response.status}, {method}: {body[:300]!r}")
        self.compare_request(binding, sent, seen, said)
        self.compare_response(binding, answers, response, body)
        self.compare_document(binding, response, body)

    def answers(self, binding):
        count = 2 if binding.method.server_streaming else 1
        return [self.values.message(binding.method.output_type) for _ in range(count)]

    def send(self, request, request_id):
        headers = {"x-request-id": request_id, "accept": "*/*"}
        if request.content_type is not None:
            headers["content-type"] = request.content_type
        self.connection.request(request.method, request.target, request.body or None, headers)
        response = self.connection.getresponse()
        return response, response.read()

    def is_shadowed(self, binding, method, request):
        """Two templates may match one path; then the one that says more of it is taken."""
        others = (other for other in self.set.bindings if other.name == method and other is not binding)
        return any(other.matches(request.method, request.path) for other in others)

    def compare_request(self, binding, sent, seen, said):
        if len(seen) != 1:
            raise Difference("request", f"{said}: the upstream saw {len(seen)} messages")
        arrived = message_factory.GetMessageClass(binding.method.input_type).FromString(seen[0])
        if arrived != sent:
            raise Difference("request", f"{said}: arrived\n{arrived}\nbut sent was\n{sent}")

    def compare_response(self, binding, answers, response, body):
        expected = [self.expected(binding, answer) for answer in answers]
        if isinstance(expected[0], bytes):
            if body != b"".join(expected):
                raise Difference("response", f"answered {body!r}, expected {expected!r}")
            return
        lines = body.splitlines() if binding.method.server_streaming else [body]
        found = [json.loads(line) for line in lines]
        if found != expected:
            raise Difference("response", f"answered {found}, expected {expected}")

    def compare_document(self, binding, response, body):
        """Holds the answer against the OpenAPI document, where the binding has an operation in it."""
        operation = self.operations.get((binding.name, f"{binding.http_method} {binding.template}"))
        if operation is None:
            return
        described = self.document.response(operation, 200)["content"]
        media_type = response.headers["content-type"].split(";")[0]
        if "*/*" in described:
            return
        lines = body.splitlines() if binding.method.server_streaming else [body]
        for line in lines:
            unfit = self.document.unfit_answer(operation, 200, media_type, json.loads(line))
            if unfit:
                raise Difference("document", f"answered {line[:300]!r}: {unfit[:3]}")

    def expected(self, binding, answer):
        """The JSON of an answer, or the bytes that are the body as they stand."""
        if binding.response_body:
            field = answer.DESCRIPTOR.fields_by_name[binding.response_body]
            if field.message_type is not None and field.message_type.full_name == "google.api.HttpBody":
                return getattr(answer, field.name).data
        if answer.DESCRIPTOR.full_name == "google.api.HttpBody":
            return answer.data
        always = bool(binding.response_body)
        fields = json.loads(json_format.MessageToJson(answer, descriptor_pool=self.set.pool))
        return fields.get(field.json_name) if always else fields
