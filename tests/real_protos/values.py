"""Random messages of any type, with what is hard to transcode: extremes, escapes, oneofs, groups and well-known types."""

import struct

from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import FieldDescriptor as Field

TEXTS = ["plain", "a b", "é✓", "\U0001f680 x", 'quo"te', "back\\slash", "100%", "x+y=z&w", "tab\tnew\nline", "\u2028", "0", "<b>"]
SEGMENTS = ["p7", "a b", "é✓", "x+y", "100%", "a.b_c~d", "semi;colon", "at@", "q?h#x", "c:d", "(1)", "ümlaut"]

# Messages nest in themselves. Fields that a request must set are set a little deeper than others.
DEPTH = 3
REQUIRED_DEPTH = 6

BITS = {
    Field.TYPE_INT32: (-(2**31), 2**31 - 1),
    Field.TYPE_SINT32: (-(2**31), 2**31 - 1),
    Field.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    Field.TYPE_UINT32: (0, 2**32 - 1),
    Field.TYPE_FIXED32: (0, 2**32 - 1),
    Field.TYPE_INT64: (-(2**63), 2**63 - 1),
    Field.TYPE_SINT64: (-(2**63), 2**63 - 1),
    Field.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    Field.TYPE_UINT64: (0, 2**64 - 1),
    Field.TYPE_FIXED64: (0, 2**64 - 1),
}

# The years 1 to 9999, and what a Duration may hold, in seconds.
TIMES = (-62135596800, 253402300799)
LONGEST = 315_576_000_000


def is_map(field):
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def is_required(field):
    if field.is_required:
        return True
    # Read again by the classes of the default pool, which know the extension.
    options = descriptor_pb2.FieldOptions.FromString(field.GetOptions().SerializeToString())
    return field_behavior_pb2.REQUIRED in options.Extensions[field_behavior_pb2.field_behavior]


class Values:
    """A source of random values for the types of one descriptor pool."""

    def __init__(self, pool, random):
        self.pool = pool
        self.random = random
        self.required = {}

    def message(self, descriptor, depth=0):
        message = message_factory.GetMessageClass(descriptor)()
        self.fill(message, depth)
        return message

    def fill(self, message, depth):
        known = getattr(self, "fill_" + message.DESCRIPTOR.full_name.replace(".", "_"), None)
        if known is not None:
            return known(message, depth)
        chosen = {oneof: self.random.choice(oneof.fields) for oneof in message.DESCRIPTOR.oneofs}
        for field in message.DESCRIPTOR.fields:
            if chosen.get(field.containing_oneof, field) is field and self.is_wanted(field, depth):
                self.set(message, field, depth)

    def is_needed(self, field):
        """Whether a request must set it, or another field of its oneof."""
        if field not in self.required:
            others = field.containing_oneof.fields if field.containing_oneof else [field]
            self.required[field] = any(map(is_required, others))
        return self.required[field]

    def is_wanted(self, field, depth):
        if self.is_needed(field):
            return depth < REQUIRED_DEPTH
        return depth < DEPTH and self.random.random() < (0.9, 0.5, 0.3)[depth]

    def set(self, message, field, depth):
        if is_map(field):
            self.set_map(getattr(message, field.name), field, depth)
        elif field.is_repeated:
            values = getattr(message, field.name)
            for _ in range(self.random.randint(1, 2)):
                if field.message_type is None:
                    values.append(self.scalar(field))
                else:
                    self.fill(values.add(), depth + 1)
        elif field.message_type is not None:
            value = getattr(message, field.name)
            value.SetInParent()
            self.fill(value, depth + 1)
        else:
            setattr(message, field.name, self.scalar(field))
            if self.is_needed(field) and not field.has_presence and not getattr(message, field.name):
                setattr(message, field.name, self.other_than_default(field))

    def set_something(self, message):
        """A query can't say that a message is there and empty."""
        plain = (field for field in message.DESCRIPTOR.fields if not field.is_repeated and field.message_type is None)
        for field in list(plain)[:1]:
            setattr(message, field.name, self.other_than_default(field))

    def other_than_default(self, field):
        """A field without presence is missing where it has its default."""
        values = (self.scalar(field) for _ in range(100))
        return next((value for value in values if value), self.scalar(field))

    def set_map(self, values, field, depth):
        key, value = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
        for _ in range(self.random.randint(1, 2)):
            if value.message_type is None:
                values[self.scalar(key)] = self.scalar(value)
            else:
                self.fill(values[self.scalar(key)], depth + 1)

    def scalar(self, field):
        random = self.random
        if field.type in BITS:
            low, high = BITS[field.type]
            return random.choice([low, high, 0, 1, random.randint(low, high), random.randint(0, 100)])
        if field.type == Field.TYPE_BOOL:
            return random.random() < 0.5
        if field.type == Field.TYPE_ENUM:
            return random.choice(field.enum_type.values).number
        if field.type == Field.TYPE_DOUBLE:
            return random.choice([0.5, -1.25, 1e300, 5e-324, random.uniform(-1e6, 1e6), float("inf")])
        if field.type == Field.TYPE_FLOAT:
            return struct.unpack("f", struct.pack("f", random.choice([0.5, 1e-10, 3.4e38, random.uniform(-1e3, 1e3)])))[0]
        if field.type == Field.TYPE_BYTES:
            return random.randbytes(random.randint(1, 9))
        return random.choice(TEXTS) + random.choice(["", "", "x" * 40])

    def segment(self):
        """What `*` of a path template may match."""
        return self.random.choice(SEGMENTS) + str(self.random.randint(0, 999))

    # Types whose JSON is not that of their fields.

    def fill_google_protobuf_Timestamp(self, message, _):
        message.seconds = self.random.choice([0, *TIMES, self.random.randint(*TIMES)])
        message.nanos = self.random.choice([0, 1, 5_000_000, 123_456_000, 999_999_999])

    def fill_google_protobuf_Duration(self, message, _):
        sign = self.random.choice([1, -1])
        message.seconds = sign * self.random.choice([0, 1, self.random.randint(0, LONGEST - 1)])
        message.nanos = sign * self.random.choice([0, 1, 5_000_000, 123_456_000, 999_999_999])

    def fill_google_protobuf_FieldMask(self, message, _):
        message.paths.extend(self.random.sample(["name", "display_name", "a.b_c.d", "labels"], 2))

    def fill_google_protobuf_Struct(self, message, depth):
        for _ in range(self.random.randint(0, 2)):
            self.fill(message.fields[self.random.choice(TEXTS)], depth + 1)

    def fill_google_protobuf_ListValue(self, message, depth):
        for _ in range(self.random.randint(0, 2)):
            self.fill(message.values.add(), depth + 1)

    def fill_google_protobuf_Value(self, message, depth):
        nested = ["struct_value", "list_value"] if depth < DEPTH else []
        kind = self.random.choice(["null_value", "number_value", "string_value", "bool_value", *nested])
        if kind in nested:
            getattr(message, kind).SetInParent()
            self.fill(getattr(message, kind), depth + 1)
        else:
            value = {"null_value": 0, "number_value": -2.5, "string_value": "text", "bool_value": True}[kind]
            setattr(message, kind, value)

    def fill_google_protobuf_Any(self, message, depth):
        try:
            inner = self.message(self.pool.FindMessageTypeByName("google.protobuf.Duration"), depth + 1)
        except KeyError:
            return
        message.type_url = "type.googleapis.com/google.protobuf.Duration"
        message.value = inner.SerializeToString()

    def fill_google_api_HttpBody(self, message, _):
        message.content_type = "text/plain; charset=x"
        message.data = self.random.randbytes(20)
