//! Parameters of operations: in the path, in the query, in the head.

use std::fmt::Write;

use accord_contract::Policy;
use accord_transcode::Known;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::example;
use crate::members::{Form, Taken, is_deprecated, is_output_only, is_required};
use crate::object::put_unless_empty;
use crate::place::{PathParameter, Place};
use crate::route::Route;
use crate::schemas::Schemas;

/// How many query parameters an operation shows. A message in a query has as many as it has fields below it.
const MOST: usize = 200;

/// How many fields of messages a query parameter's name has at most.
const LEVELS: usize = 5;

/// How a value is given in a query.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As text.
    Text,
    /// As JSON.
    Json,
}

/// The parameters that a path has.
pub(crate) fn in_path(schemas: &mut Schemas, place: &Place, message: &MessageDescriptor, form: Form) -> Vec<Value> {
    place.parameters.iter().map(|parameter| of_path(schemas, parameter, message, form)).collect()
}

fn of_path(schemas: &mut Schemas, parameter: &PathParameter, message: &MessageDescriptor, form: Form) -> Value {
    let field = parameter.field.as_deref().and_then(|path| resolve(message, path));
    let is_value = parameter.template.is_none() && !parameter.is_rest;
    let value = field.as_ref().filter(|field| is_value && way(&field.kind()) == Some(Way::Text));
    let schema = value.map_or(json!({"type": "string"}), |field| schemas.value(field, form, &Taken::default()));
    let shown = value.and_then(|field| example::parameter(field, form)).unwrap_or_else(|| json!("1"));
    let mut description = field.as_ref().map(|field| comment(schemas, field)).unwrap_or_default();
    if let (Some(template), Some(field)) = (&parameter.template, &parameter.field) {
        write!(description, "\n\nA part of `{field}`, which is `{template}` as a whole.").unwrap_or_default();
    }
    if parameter.is_rest {
        description +=
            "\n\nAny number of segments: a `/` in it stands as it is, where a client can be made to send it so.";
    }
    let mut object = Map::from_iter([
        ("name".to_owned(), json!(parameter.name)),
        ("in".to_owned(), json!("path")),
        ("required".to_owned(), json!(true)),
    ]);
    put_unless_empty(&mut object, "description", description.trim().into());
    object.insert("schema".to_owned(), schema);
    object.insert("example".to_owned(), shown);
    put_unless_empty(&mut object, "x-accord-field", json!(parameter.field));
    object.into()
}

/// The field at a path of proto names.
pub(crate) fn resolve(message: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = message.get_field_by_name(first)?;
    match rest {
        Some(rest) => resolve(field.kind().as_message()?, rest),
        None => Some(field),
    }
}

fn comment(schemas: &mut Schemas, field: &FieldDescriptor) -> String {
    schemas.comment(&field.parent_message().parent_file(), field.path()).to_owned()
}

/// The parameters of a query: all that neither the path nor the body gives, field by field.
pub(crate) fn in_query(schemas: &mut Schemas, message: &MessageDescriptor, form: Form, taken: &Taken) -> Vec<Value> {
    let mut query = Query { schemas, form, above: Vec::new(), found: Vec::new() };
    query.fields(message, "", taken, true);
    query.found
}

struct Query<'s> {
    schemas: &'s mut Schemas,
    form: Form,
    /// The messages around the fields.
    above: Vec<String>,
    found: Vec<Value>,
}

impl Query<'_> {
    /// `is_certain` is whether the message is there in any case, so that its fields may be required.
    fn fields(&mut self, message: &MessageDescriptor, before: &str, taken: &Taken, is_certain: bool) {
        let is_around = self.above.iter().any(|name| name == message.full_name());
        if is_around || self.above.len() == LEVELS {
            return;
        }
        self.above.push(message.full_name().to_owned());
        for field in message.fields().filter(|field| !taken.has(field) && !is_output_only(field)) {
            let name = format!("{before}{}", self.form.name(&field));
            let is_required = is_certain && is_required(&field);
            match field.kind() {
                Kind::Message(inner) if !field.is_list() && !field.is_map() && Known::of(&inner).is_none() => {
                    let is_group = field.is_group();
                    if !is_group {
                        self.fields(&inner, &format!("{name}."), &taken.within(&field), is_required);
                    }
                }
                _ => self.field(&field, &name, is_required),
            }
        }
        self.above.pop();
    }

    fn field(&mut self, field: &FieldDescriptor, name: &str, is_required: bool) {
        let kind = field.kind();
        let element = match kind.as_message().filter(|_| field.is_map()) {
            Some(entry) => entry.get_field(2).map(|value| value.kind()),
            None => Some(kind),
        };
        let Some(way) = element.as_ref().and_then(way).filter(|_| self.found.len() < MOST) else { return };
        let several = field.is_list() || field.is_map();
        let mut parameter = Map::from_iter([("name".to_owned(), json!(name)), ("in".to_owned(), json!("query"))]);
        put_unless_empty(&mut parameter, "description", comment(self.schemas, field).into());
        if is_required && !field.is_map() {
            parameter.insert("required".to_owned(), json!(true));
        }
        if is_deprecated(field) {
            parameter.insert("deprecated".to_owned(), json!(true));
        }
        match way {
            Way::Json if several => return,
            Way::Json => {
                let content = json!({"application/json": {
                    "schema": self.schemas.value(field, self.form, &Taken::default()),
                    "example": example::parameter(field, self.form),
                }});
                parameter.insert("content".to_owned(), content);
            }
            Way::Text => {
                let style = if field.is_map() { "deepObject" } else { "form" };
                parameter.insert("style".to_owned(), json!(style));
                parameter.insert("explode".to_owned(), json!(true));
                parameter.insert("schema".to_owned(), self.schemas.value(field, self.form, &Taken::default()));
                put_unless_empty(&mut parameter, "example", json!(example::parameter(field, self.form)));
            }
        }
        self.found.push(parameter.into());
    }
}

/// How a value is given as a parameter; none where it can't be.
fn way(kind: &Kind) -> Option<Way> {
    let Kind::Message(message) = kind else { return Some(Way::Text) };
    match Known::of(message)? {
        Known::Timestamp | Known::Duration | Known::FieldMask => Some(Way::Text),
        Known::Only if message.fields().all(|field| !field.is_list() && !field.is_map()) => Some(Way::Text),
        Known::Only | Known::Value => Some(Way::Json),
        Known::Any | Known::Empty | Known::HttpBody => None,
    }
}

/// What stands in the head of a request beside what HTTP itself has.
pub(crate) fn in_head(policy: &Policy, route: Route<'_>) -> Vec<Value> {
    let mut parameters = Vec::new();
    if let Some(idempotency) = &policy.idempotency {
        let name = if idempotency.required { "IdempotencyKeyRequired" } else { "IdempotencyKey" };
        parameters.push(json!({"$ref": format!("#/components/parameters/{name}")}));
    }
    if policy.cache.is_some() {
        parameters.push(json!({"$ref": "#/components/parameters/AtLeastAsFresh"}));
    }
    if route.is_tagged(policy) {
        parameters.push(json!({"$ref": "#/components/parameters/IfNoneMatch"}));
    }
    let timeout = if route.is_connect() { "ConnectTimeout" } else { "RequestTimeout" };
    parameters.extend([timeout, "RequestId"].map(|name| json!({"$ref": format!("#/components/parameters/{name}")})));
    parameters
}

fn idempotency_key(required: bool) -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "required": required,
        "description": "Chosen by the caller. A call that is repeated with the same key and request gets the answer of the first.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        "example": "5f1c7d1e-8c57-4c6a-9a4a-0f6f3f1b2d11",
    })
}

/// The parameters that many operations have.
pub(crate) fn components() -> Value {
    json!({
        "AtLeastAsFresh": {
            "name": "X-Accord-At-Least-As-Fresh",
            "in": "header",
            "description": "Consistency tokens of earlier answers, with commas between them: the answer is no older than what they stand for.",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_, -]+$"},
            "example": "AA",
        },
        "ConnectTimeout": {
            "name": "Connect-Timeout-Ms",
            "in": "header",
            "description": "Milliseconds that the call may take. `x-accord-policy` has what holds without it, and the longest.",
            "schema": {"type": "integer", "minimum": 1},
            "example": 1500,
        },
        "IdempotencyKey": idempotency_key(false),
        "IdempotencyKeyRequired": idempotency_key(true),
        "IfNoneMatch": {
            "name": "If-None-Match",
            "in": "header",
            "description": "The `ETag` of an answer that the caller has: where it still holds, the status is 304, and nothing follows.",
            "schema": {"type": "string"},
            "example": "\"Yk5mUu4Ih2ml1QzfVtCdUA\"",
        },
        "RequestId": {
            "name": "X-Request-Id",
            "in": "header",
            "description": "The id of the call, which comes back with the answer. One is made where there is none.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
            "example": "order-4711",
        },
        "RequestTimeout": {
            "name": "Request-Timeout",
            "in": "header",
            "description": "Seconds that the call may take. `x-accord-policy` has what holds without it, and the longest.",
            "schema": {"type": "string", "pattern": r"^[0-9]{1,8}(\.[0-9]{1,9})?$"},
            "example": "1.5",
        },
    })
}
