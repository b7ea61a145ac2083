//! What is in the body of a request.

use accord_contract::http::Body;
use accord_transcode::Known;
use prost_reflect::{FieldDescriptor, MethodDescriptor};
use serde_json::{Value, json};

use crate::example;
use crate::members::{Form, Taken};
use crate::route::Route;
use crate::schemas::Schemas;

/// One JSON text per line.
pub(crate) const LINES: &str = "application/x-ndjson";

/// What the body of a request stands for.
pub(crate) enum BodySource {
    /// There is none.
    None,
    /// The whole message.
    Whole,
    /// The whole message, which is never a body as it stands.
    Canonical,
    /// A field of it.
    Field(FieldDescriptor),
}

impl BodySource {
    /// As the way to a method says.
    pub(crate) fn of(route: Route<'_>) -> Self {
        match route.binding().map(|binding| &binding.body) {
            None if route.is_connect() => Self::Canonical,
            None | Some(Body::Whole) => Self::Whole,
            Some(Body::Field(field)) => Self::Field(field.clone()),
            Some(Body::None) => Self::None,
        }
    }
}

/// The body of a request; none where there is none. `taken` is what the path gives.
pub(crate) fn request_body(
    schemas: &mut Schemas,
    method: &MethodDescriptor,
    source: &BodySource,
    form: Form,
    taken: &Taken,
) -> Option<Value> {
    let input = method.input();
    let (schema, shown, is_raw) = match source {
        BodySource::None => return None,
        BodySource::Whole | BodySource::Canonical => {
            let is_raw = matches!(source, BodySource::Whole) && Known::of(&input) == Some(Known::HttpBody);
            (schemas.message_without(&input, form, taken), example::message(&input, form, taken), is_raw)
        }
        BodySource::Field(field) => {
            let within = taken.within(field);
            (schemas.field(field, form, &within), example::field(field, form, &within), is_raw(field))
        }
    };
    if is_raw {
        let description = "The content as it stands, of the type that its `content-type` says.";
        return Some(json!({"description": description, "content": {"*/*": {}}}));
    }
    let is_required =
        schema.get("required").is_some() || schema["$ref"].as_str().is_some_and(|it| it.ends_with("-request"));
    let content = if method.is_client_streaming() {
        json!({LINES: {"schema": lines(&schema)}})
    } else {
        let mut media = json!({"schema": schema});
        if let Some(shown) = shown {
            media["example"] = shown;
        }
        json!({"application/json": media})
    };
    Some(json!({"required": is_required, "content": content}))
}

/// Whether a field holds a body as it stands.
pub(crate) fn is_raw(field: &FieldDescriptor) -> bool {
    let holds = field.kind().as_message().is_some_and(|message| Known::of(message) == Some(Known::HttpBody));
    holds && !field.is_list()
}

/// Any number of messages, one per line.
pub(crate) fn lines(message: &Value) -> Value {
    json!({
        "type": "string",
        "description": "One JSON text per line; `contentSchema` is what one of them is.",
        "contentMediaType": LINES,
        "contentSchema": message,
    })
}
