//! prost-reflect as the second implementation of `ProtoJSON`, and where it is not followed.

use accord_transcode::{Malformed, Plan};
use prost_reflect::DynamicMessage;
use serde_json::Value;

/// What a plan writes for wire bytes.
pub(crate) fn written(plan: &Plan, wire: &[u8]) -> Result<String, Malformed> {
    let mut out = Vec::new();
    plan.response(wire, &mut out)?;
    Ok(String::from_utf8(out).expect("JSON is UTF-8"))
}

/// What prost-reflect writes, where it can.
pub(crate) fn theirs(message: &DynamicMessage) -> Option<Value> {
    // By way of a text, so that numbers go through the same rounding on both sides.
    let text = serde_json::to_string(message).ok()?;
    Some(without_empty_values(parsed(&text)))
}

/// JSON as a value; panics where it is none.
pub(crate) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// It writes an `Empty` in an `Any` under `value`, as Go does, against the page on `ProtoJSON`.
fn without_empty_values(mut json: Value) -> Value {
    match &mut json {
        Value::Object(members) => {
            let url = members.get("@type").and_then(Value::as_str);
            if url.is_some_and(|url| url.ends_with("/google.protobuf.Empty")) {
                members.remove("value");
            }
            members.values_mut().for_each(|value| *value = without_empty_values(value.take()));
        }
        Value::Array(elements) => elements.iter_mut().for_each(|value| *value = without_empty_values(value.take())),
        _ => {}
    }
    json
}

/// Whether two values are the same. It reads long decimals a little beside their value.
pub(crate) fn alike(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) => {
            let (ours, theirs) = (ours.as_f64().unwrap_or(f64::NAN), theirs.as_f64().unwrap_or(f64::NAN));
            (ours - theirs).abs() <= ours.abs() * 1e-6
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| alike(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(key, ours)| theirs.get(key).is_some_and(|theirs| alike(ours, theirs)))
        }
        _ => ours == theirs,
    }
}
