"""The bindings that `google.api.http` declares, and the HTTP requests that they make of messages."""

import json
import re
import urllib.parse
from dataclasses import dataclass

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.descriptor import FieldDescriptor as Field

from gateway import OWN
from values import is_map

# Messages that a query gives as one parameter, by their JSON form.
AS_TEXT = {"google.protobuf." + name for name in ("Timestamp", "Duration", "FieldMask")}
AS_SCALAR = {
    f"google.protobuf.{name}Value"
    for name in ("Bool", "String", "Bytes", "Float", "Double", "Int32", "Int64", "UInt32", "UInt64")
}
NOT_IN_QUERY = {"google.protobuf." + name for name in ("Any", "Struct", "Value", "ListValue")} | {"google.api.HttpBody"}

VARIABLE = re.compile(r"\{([^}=]+)(?:=([^}]*))?\}")


@dataclass
class Binding:
    method: object
    http_method: str
    template: str
    body: str
    response_body: str
    is_declared: bool = True

    @property
    def name(self):
        return f"{self.method.containing_service.full_name}/{self.method.name}"

    def __str__(self):
        return f"{self.name}: {self.http_method} {self.template}"

    def variables(self):
        return [(found[1], found[2] or "*") for found in VARIABLE.finditer(self.template)]

    def matches(self, http_method, path):
        """Whether the path is one of this binding as well, whichever of the two is the more specific."""
        if self.http_method not in (http_method, "*"):
            return False
        flat = VARIABLE.sub(lambda found: found[2] or "*", self.template)
        flat = re.escape(flat).replace(r"\*\*", ".*").replace(r"\*", "[^/]+")
        return re.fullmatch(flat.replace("/.*", "(?:/.*)?"), path) is not None


@dataclass
class Request:
    method: str
    path: str
    target: str
    content_type: str | None
    body: bytes


def bindings(service):
    """How the methods of a service are called over HTTP: by each binding, and by name with the request as JSON."""
    if service.full_name.startswith(OWN):
        return
    for method in service.methods:
        if not method.client_streaming:
            yield Binding(method, "POST", f"/{service.full_name}/{method.name}", "*", "", is_declared=False)
        # Read again by the classes of the default pool, which know the extension.
        options = descriptor_pb2.MethodOptions.FromString(method.GetOptions().SerializeToString())
        if method.client_streaming or not options.HasExtension(annotations_pb2.http):
            continue
        rule = options.Extensions[annotations_pb2.http]
        for one in [rule, *rule.additional_bindings]:
            kind = one.WhichOneof("pattern")
            if kind == "custom":
                yield Binding(method, one.custom.kind, one.custom.path, one.body, one.response_body)
            elif kind is not None:
                yield Binding(method, kind.upper(), getattr(one, kind), one.body, one.response_body)


def request(binding, message, values, pool):
    """The HTTP request that stands for `message`, which loses what the binding has no place for."""
    path = fill_path(binding, message, values)
    bound = [name for name, _ in binding.variables()]
    preserve = values.random.random() < 0.5
    content_type, body, query = None, b"", []
    if binding.body == "*":
        content_type, body = whole(message, bound, pool, preserve)
    else:
        others = [field for field in message.DESCRIPTOR.fields if field.name != binding.body]
        query = parameters(message, others, bound, values)
        if binding.body and is_set(message, message.DESCRIPTOR.fields_by_name[binding.body]):
            content_type, body = one_field(message, binding.body, bound, pool, preserve)
        elif binding.body and is_http_body(message.DESCRIPTOR.fields_by_name[binding.body]):
            # A request has a body, be it empty, and so the field is there.
            getattr(message, binding.body).SetInParent()
    target = path + ("?" + "&".join(query) if query else "")
    method = "POST" if binding.http_method == "*" else binding.http_method
    return Request(method, path, target, content_type, body)


def fill_path(binding, message, values):
    """Sets the variables of the template, and returns the path that says the same."""

    def text(segments):
        return segments if "*" not in segments else "/".join(map(part, segments.split("/")))

    def part(segment):
        if segment == "**":
            return "/".join(values.segment() for _ in range(2))
        return values.segment() if segment == "*" else segment

    def replaced(found):
        owner, field = leaf(message, found[1], values)
        if field.type == Field.TYPE_STRING:
            setattr(owner, field.name, text(found[2] or "*"))
        elif not is_set(owner, field):
            value = values.scalar(field)
            setattr(owner, field.name, b"x" if field.type == Field.TYPE_BYTES else value)
        given = scalar_text(owner, field)
        safe = "/" if "/" in (found[2] or "") or "**" in (found[2] or "") else ""
        return urllib.parse.quote(given, safe=safe)

    template = VARIABLE.sub(lambda found: "\0" + found[0] + "\0", binding.template)
    pieces = template.split("\0")
    for index, piece in enumerate(pieces):
        found = VARIABLE.fullmatch(piece)
        if found:
            pieces[index] = replaced(found)
        elif "*" in piece:
            pieces[index] = "/".join(urllib.parse.quote(part(one)) if "*" in one else one for one in piece.split("/"))
    return "".join(pieces)


def leaf(message, path, values=None):
    """The message that holds the field at the end of the path, and that field. Messages on the way there are filled."""
    *outer, last = path.split(".")
    for name in outer:
        inner = getattr(message, name)
        if values is not None and not message.HasField(name):
            inner.SetInParent()
            values.fill(inner, 1)
        message = inner
    return message, message.DESCRIPTOR.fields_by_name[last]


def is_set(message, field):
    if field.is_repeated:
        return len(getattr(message, field.name)) > 0
    if field.has_presence:
        return message.HasField(field.name)
    return bool(getattr(message, field.name))


def scalar_text(message, field):
    """A single value as JSON writes it, without quotes."""
    copy = type(message)()
    if field.message_type is None:
        setattr(copy, field.name, getattr(message, field.name))
    else:
        getattr(copy, field.name).CopyFrom(getattr(message, field.name))
    fields = json_format.MessageToDict(copy, always_print_fields_with_no_presence=True, preserving_proto_field_name=True)
    return plain(fields[field.name])


def plain(value):
    return value if isinstance(value, str) else json.dumps(value)


def without(message, bound):
    copy = type(message)()
    copy.CopyFrom(message)
    for path in bound:
        owner, field = leaf(copy, path)
        owner.ClearField(field.name)
    return copy


def whole(message, bound, pool, preserve):
    if message.DESCRIPTOR.full_name == "google.api.HttpBody":
        return message.content_type, message.data
    text = json_format.MessageToJson(without(message, bound), descriptor_pool=pool, preserving_proto_field_name=preserve)
    return "application/json", text.encode()


def is_http_body(field):
    return field.message_type is not None and field.message_type.full_name == "google.api.HttpBody"


def one_field(message, name, bound, pool, preserve):
    field = message.DESCRIPTOR.fields_by_name[name]
    if is_http_body(field):
        return getattr(message, name).content_type, getattr(message, name).data
    fields = json_format.MessageToDict(without(message, bound), descriptor_pool=pool, preserving_proto_field_name=preserve)
    return "application/json", json.dumps(fields[field.name if preserve else field.json_name]).encode()


def parameters(message, fields, bound, values, outer=()):
    """Query parameters for these fields; those that a query can't hold are cleared."""
    query = []
    for field in fields:
        path = (*outer, field)
        name = ".".join(step.name for step in path)
        if name in bound or not is_set(message, field):
            continue
        kind = field.message_type and field.message_type.full_name
        if is_map(field) or field.type == Field.TYPE_GROUP or kind in NOT_IN_QUERY or (kind and field.is_repeated):
            message.ClearField(field.name)
        elif kind and kind not in AS_TEXT | AS_SCALAR:
            inner = getattr(message, field.name)
            given = parameters(inner, inner.DESCRIPTOR.fields, bound, values, path)
            is_in_path = any(other.startswith(name + ".") for other in bound)
            if not given and not is_in_path:
                values.set_something(inner)
                given = parameters(inner, inner.DESCRIPTOR.fields, bound, values, path)
            query += given
            # A message without anything in it can't be said, unless the path says something in it.
            if not given and not is_in_path:
                message.ClearField(field.name)
        else:
            query += [f"{spelled(path, values)}={urllib.parse.quote_plus(text)}" for text in texts(message, field)]
    return query


def spelled(path, values):
    """Both names of a field are accepted: that of the proto, and that of JSON."""
    return ".".join(step.json_name if values.random.random() < 0.5 else step.name for step in path)


def texts(message, field):
    if not field.is_repeated:
        return [scalar_text(message, field)]
    copy = type(message)()
    getattr(copy, field.name).extend(getattr(message, field.name))
    return [plain(value) for value in json_format.MessageToDict(copy, preserving_proto_field_name=True)[field.name]]
