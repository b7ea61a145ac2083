//! JSON objects, put together.

use serde_json::{Map, Value};

/// Adds a member, unless there is nothing in it.
pub(crate) fn put_unless_empty(object: &mut Map<String, Value>, name: &str, value: Value) {
    let is_empty = match &value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    if !is_empty {
        object.insert(name.to_owned(), value);
    }
}
