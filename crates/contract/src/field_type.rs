//! What descriptors say of types, in the words of the wire format.

use std::borrow::Cow;

use accord_wire::{Scalar, ScalarType, WireType};
use prost_reflect::{FieldDescriptor, Kind, Value};

/// The type of a scalar; none for messages.
pub(crate) fn scalar_type(kind: &Kind) -> Option<ScalarType> {
    Some(match kind {
        Kind::Double => ScalarType::Double,
        Kind::Float => ScalarType::Float,
        Kind::Int32 => ScalarType::Int32,
        Kind::Int64 => ScalarType::Int64,
        Kind::Uint32 => ScalarType::Uint32,
        Kind::Uint64 => ScalarType::Uint64,
        Kind::Sint32 => ScalarType::Sint32,
        Kind::Sint64 => ScalarType::Sint64,
        Kind::Fixed32 => ScalarType::Fixed32,
        Kind::Fixed64 => ScalarType::Fixed64,
        Kind::Sfixed32 => ScalarType::Sfixed32,
        Kind::Sfixed64 => ScalarType::Sfixed64,
        Kind::Bool => ScalarType::Bool,
        Kind::String => ScalarType::String,
        Kind::Bytes => ScalarType::Bytes,
        Kind::Enum(_) => ScalarType::Enum,
        Kind::Message(_) => return None,
    })
}

/// How the values of a field are written one by one. A kind alone does not tell groups from messages.
pub(crate) fn wire_type(field: &FieldDescriptor) -> WireType {
    match scalar_type(&field.kind()) {
        Some(scalar) => scalar.wire_type(),
        None if field.is_group() => WireType::StartGroup,
        None => WireType::Bytes,
    }
}

/// A scalar's text; none for messages, lists and maps.
pub(crate) fn scalar_text(value: &Value) -> Option<Cow<'_, str>> {
    let scalar = match value {
        Value::Bool(value) => Scalar::Bool(*value),
        Value::I32(value) | Value::EnumNumber(value) => Scalar::Signed((*value).into()),
        Value::I64(value) => Scalar::Signed(*value),
        Value::U32(value) => Scalar::Unsigned((*value).into()),
        Value::U64(value) => Scalar::Unsigned(*value),
        Value::F32(value) => Scalar::Float(*value),
        Value::F64(value) => Scalar::Double(*value),
        Value::String(text) => Scalar::String(text),
        Value::Bytes(bytes) => Scalar::Bytes(bytes),
        Value::Message(_) | Value::List(_) | Value::Map(_) => return None,
    };
    Some(scalar.text())
}
