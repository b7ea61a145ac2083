//! Path variables, query parameters and a body: one message, the one that prost-reflect makes of the same values in JSON.

use std::{borrow::Cow, sync::LazyLock};

use accord_contract::http::{Binding, Body};
use accord_transcode::{Limits, Plan};
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Value, json};

use crate::{
    Target,
    oracle::{alike, theirs},
    percent::decoded_form,
    schemas::sink,
};

pub(crate) const TARGET: Target = Target {
    name: "query",
    check,
    tokens: &[
        "text=",
        "flag=true",
        "int32=",
        "numbers=",
        "&",
        "+",
        "%2B",
        "%ff",
        "labels[",
        "leaves[1]=",
        "]=",
        "switches[true]=",
        "leaf.name=",
        "leaf.next.minorUnits=",
        "timestamp=2026-01-01T00:00:00Z",
        "duration=1s",
        "mask=a,bC",
        "mask=*",
        "struct={}",
        "value=",
        "list=[1]",
        "values=",
        "wrappedNumber=",
        "any=",
        "sink.sink.",
        "choiceText=",
        "choiceNumber=",
        "colour=COLOUR_RED",
        "palette[0]=",
        "\n",
        "{}",
        "\"name\"",
        "otherName=",
        "rawBytes=AA",
        "doubles=NaN",
    ],
};

/// A template, the field that the body is, and a plan.
struct Bound {
    variables: Vec<&'static str>,
    body: &'static str,
    plan: Plan,
}

static BOUND: LazyLock<[Bound; 4]> = LazyLock::new(|| {
    [
        bound("/v1", ""),
        bound("/v1/{text}/{int32}", "leaf"),
        bound("/v1/{timestamp}/{wrapped_number}/{leaf.name}", ""),
        bound("/v1/{colour}", "*"),
    ]
});

fn bound(template: &'static str, body: &'static str) -> Bound {
    let message = sink();
    let source = match body {
        "" => Body::None,
        "*" => Body::Whole,
        field => Body::Field(message.descriptor().get_field_by_name(field).expect("the message has it")),
    };
    let template_of = template.parse().expect("it is one");
    let binding = Binding { method: "POST".to_owned(), template: template_of, body: source, response_body: None };
    let plan = Plan::compile(&message.schema, &message.method, Some(&binding), Limits::default());
    let variables = template.split('{').skip(1).map(|rest| rest.split('}').next().unwrap_or_default());
    Bound { variables: variables.collect(), body, plan: plan.expect("it fits its message") }
}

/// Lines: the query, the body, and the variables.
fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut lines = text.split('\n');
    let (query, body) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let values: Vec<_> = lines.collect();
    for bound in BOUND.iter() {
        let values: Vec<_> = (0..bound.variables.len()).map(|index| values.get(index).copied().unwrap_or("")).collect();
        bind(bound, query, body, &values);
    }
}

fn bind(bound: &Bound, query: &str, body: &str, values: &[&str]) {
    let variables: Vec<_> = values.iter().map(|value| Cow::Borrowed(*value)).collect();
    let Ok(wire) = bound.plan.request(&variables, Some(query), None, body.as_bytes()) else { return };
    let ours = sink().decoded(&wire).expect("prost-reflect reads what was written");
    let Some(expected) = merged(bound, query, body, values) else { return };
    if let (Some(ours), Some(expected)) = (theirs(&ours), theirs(&expected)) {
        assert!(alike(&ours, &expected), "{query}: {ours}, but its values make {expected}");
    }
}

/// The message of the same values, one by one in JSON; none where prost-reflect does not read one of them.
fn merged(bound: &Bound, query: &str, body: &str, values: &[&str]) -> Option<DynamicMessage> {
    let mut parts = Vec::new();
    match (bound.body, body) {
        (_, "") | ("", _) => {}
        ("*", body) => parts.push(body.to_owned()),
        (field, body) => parts.push(format!("{{\"{field}\":{body}}}")),
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        parts.push(part(&form(name)?, &form(value)?)?.to_string());
    }
    for (name, value) in bound.variables.iter().zip(values) {
        parts.push(part(name, value)?.to_string());
    }
    let mut wire = Vec::new();
    for part in parts {
        wire.extend(sink().read(part.as_bytes())?.encode_to_vec());
    }
    sink().decoded(&wire)
}

/// What forms make of a text.
fn form(text: &str) -> Option<String> {
    String::from_utf8(decoded_form(text)).ok()
}

/// One value as the JSON of the whole message.
fn part(path: &str, text: &str) -> Option<Value> {
    let (path, key) = match path.strip_suffix(']').and_then(|path| path.split_once('[')) {
        Some((path, key)) => (path, Some(key)),
        None => (path, None),
    };
    let (mut message, mut fields) = (Some(sink().descriptor()), Vec::new());
    for name in path.split('.') {
        let field = field(message.as_ref()?, name)?;
        message = field.kind().as_message().cloned();
        fields.push(field);
    }
    let leaf = fields.last()?;
    let value = match (leaf.kind(), key) {
        (Kind::Message(entry), Some(key)) if leaf.is_map() => {
            json!({ key: value(&entry.map_entry_value_field().kind(), text)? })
        }
        (_, Some(_)) => return None,
        (kind, None) if leaf.is_list() => json!([value(&kind, text)?]),
        (kind, None) => value(&kind, text)?,
    };
    Some(fields.iter().rev().fold(value, |value, field| json!({ field.json_name(): value })))
}

fn field(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_json_name(name).or_else(|| message.get_field_by_name(name))
}

/// A text as the JSON of its type.
fn value(kind: &Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::Bool => text.parse::<bool>().ok().map(Value::from),
        Kind::Enum(_) => text.parse::<i32>().map(Value::from).ok().or_else(|| Some(text.into())),
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Value" | "google.protobuf.Struct" | "google.protobuf.ListValue" => {
                serde_json::from_str(text).ok()
            }
            name if name.ends_with("Value") => value(&message.get_field_by_name("value")?.kind(), text),
            _ => Some(text.into()),
        },
        _ => Some(text.into()),
    }
}
