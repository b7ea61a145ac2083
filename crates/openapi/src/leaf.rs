//! Schemas of values that hold no message of their own: scalars, and messages with a JSON form of their own.

use accord_transcode::Known;
use prost_reflect::{Kind, MessageDescriptor};
use serde_json::{Value, json};

/// The schema of a scalar; none of an enum or a message.
pub(crate) fn scalar(kind: &Kind) -> Option<Value> {
    Some(match kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
        Kind::Uint32 | Kind::Fixed32 => {
            json!({"type": "integer", "format": "uint32", "minimum": 0, "maximum": u32::MAX})
        }
        // As strings, because JavaScript would round them.
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            json!({"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"})
        }
        Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "format": "uint64", "pattern": "^[0-9]+$"}),
        Kind::Float => floating("float"),
        Kind::Double => floating("double"),
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Kind::Enum(_) | Kind::Message(_) => return None,
    })
}

fn floating(format: &str) -> Value {
    let not_finite = json!({"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]});
    json!({"anyOf": [{"type": "number", "format": format}, not_finite]})
}

/// The schema of a message with a JSON form of its own.
pub(crate) fn known(known: Known, message: &MessageDescriptor) -> Option<Value> {
    Some(match known {
        Known::Timestamp => json!({"type": "string", "format": "date-time"}),
        Known::Duration => json!({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"}),
        Known::FieldMask => {
            json!({"type": "string", "description": "Paths of fields, separated by commas, such as `displayName,price.currency`."})
        }
        Known::Any => json!({
            "type": "object",
            "description": "A message of any type: its members beside `@type`, which ends with the name of the type.",
            "properties": {"@type": {"type": "string"}},
            "additionalProperties": true,
        }),
        Known::Value => json!({"description": "Any JSON value."}),
        Known::Only => only(message)?,
        Known::Empty => json!({"type": "object"}),
        Known::HttpBody => return None,
    })
}

/// Wrappers are what they hold, `Struct` an object, `ListValue` an array.
fn only(message: &MessageDescriptor) -> Option<Value> {
    let field = message.fields().next()?;
    match () {
        () if field.is_map() => Some(json!({"type": "object", "additionalProperties": true})),
        () if field.is_list() => Some(json!({"type": "array", "items": {}})),
        () => scalar(&field.kind()),
    }
}
