"""An OpenAPI document as its readers take it: held against the specification, and against what a gateway answers."""

import copy
import urllib.parse

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def closed(schema):
    """The same document with objects that have no members but those that they name, so that nothing goes unnoticed."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    if found.get("type") == "object" and isinstance(found.get("properties"), dict):
        found.setdefault("additionalProperties", False)
    return found


class Operation:
    def __init__(self, path, method, described):
        self.path, self.method, self.described = path, method, described
        self.id = described["operationId"]
        self.binding = described["x-accord-binding"]

    def pointer(self, *steps):
        steps = ["paths", self.path, self.method, *steps]
        return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


class Document:
    def __init__(self, document):
        self.document = document
        resource = Resource(contents=closed(copy.deepcopy(document)), specification=DRAFT202012)
        self.registry = Registry().with_resource("urn:document", resource)
        self.operations = [
            Operation(path, method, item[method])
            for path, item in document["paths"].items()
            for method in METHODS
            if method in item
        ]
        self.validators = {}

    def problems(self):
        """What the specification has against it."""
        return [error.message for error in OpenAPIV31SpecValidator(self.document).iter_errors()]

    def resolved(self, value):
        """What a reference leads to."""
        while "$ref" in value:
            steps = value["$ref"].removeprefix("#/").split("/")
            value = self.document
            for step in steps:
                value = value[step]
        return value

    def response(self, operation, status):
        responses = operation.described["responses"]
        return self.resolved(responses.get(str(status), responses["default"]))

    def unfit(self, pointer, value):
        """Why a value is not what the schema at the pointer says; nothing where it is."""
        if pointer not in self.validators:
            reference = {"$ref": "urn:document#" + urllib.parse.quote(pointer, safe="/~")}
            checker = Draft202012Validator.FORMAT_CHECKER
            self.validators[pointer] = Draft202012Validator(reference, registry=self.registry, format_checker=checker)
        return [f"{error.json_path}: {error.message}" for error in self.validators[pointer].iter_errors(value)]

    def unfit_answer(self, operation, status, media_type, value):
        """The same of an answer, of a stream of one line of it."""
        responses = operation.described["responses"]
        named = str(status) if str(status) in responses else "default"
        if "$ref" in responses[named]:
            pointer = responses[named]["$ref"].removeprefix("#")
        else:
            pointer = operation.pointer("responses", named)
        pointer += "/content/" + media_type.replace("/", "~1") + "/schema"
        return self.unfit(pointer + ("/contentSchema" if media_type == "application/x-ndjson" else ""), value)
