//! HTTP rules, resolved against the method's messages.

use accord_api::google::api::HttpRule;
use accord_api::google::api::http_rule::Pattern;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

use crate::finding::Finding;
use crate::http::{Binding, Body, PathTemplate};
use crate::path::{PathError, compile_path};

const OPTION: &str = "google.api.http";

/// Messages of `google.protobuf` that are one text in JSON, or wrap what is one.
const TEXTS: [&str; 12] = [
    "Timestamp",
    "Duration",
    "FieldMask",
    "BoolValue",
    "StringValue",
    "BytesValue",
    "Int32Value",
    "Int64Value",
    "UInt32Value",
    "UInt64Value",
    "FloatValue",
    "DoubleValue",
];

/// The bindings of a rule and of its additional rules.
pub(crate) fn bindings(
    rule: &HttpRule,
    method: &MethodDescriptor,
    name: &str,
    findings: &mut Vec<Finding>,
) -> Vec<Binding> {
    let mut bindings = Vec::new();
    for rule in std::iter::once(rule).chain(&rule.additional_bindings) {
        match binding(rule, method) {
            Ok(binding) => bindings.push(binding),
            Err((problem, remedy)) => findings.push(Finding::error(name, OPTION, problem, remedy)),
        }
    }
    if rule.additional_bindings.iter().any(|inner| !inner.additional_bindings.is_empty()) {
        let problem = "an additional binding has additional bindings of its own";
        findings.push(Finding::error(name, OPTION, problem, "list them all in the first rule"));
    }
    bindings
}

type Refusal = (String, &'static str);

fn binding(rule: &HttpRule, method: &MethodDescriptor) -> Result<Binding, Refusal> {
    let (http_method, path) = match rule.pattern.as_ref() {
        Some(Pattern::Get(path)) => ("GET", path),
        Some(Pattern::Put(path)) => ("PUT", path),
        Some(Pattern::Post(path)) => ("POST", path),
        Some(Pattern::Delete(path)) => ("DELETE", path),
        Some(Pattern::Patch(path)) => ("PATCH", path),
        Some(Pattern::Custom(custom)) => (custom.kind.as_str(), &custom.path),
        None => return Err(("has no path".to_owned(), "write one of get, put, post, delete, patch or custom")),
    };
    if matches!(http_method, "GET" | "HEAD") && !rule.body.is_empty() {
        let problem = format!("`{http_method} {path}` has a `body`, and a {http_method} carries none");
        return Err((problem, "leave `body` out, so that the query gives its fields, or bind it to POST"));
    }
    if !is_method(http_method) {
        return Err((format!("`{http_method}` is no HTTP method"), "write a method such as HEAD, or `*` for any"));
    }
    let template = path
        .parse::<PathTemplate>()
        .map_err(|error| (format!("`{path}`: {error}"), "write a path such as `/v1/products/{id}`"))?;
    for variable in template.variables() {
        let refused = compile_path(&variable.field, &method.input()).err();
        if let Some(error) = refused.filter(|error| !is_text(error, &method.input())) {
            let remedy = "name a singular field of the request that holds one value";
            return Err((format!("`{path}`: {error}"), remedy));
        }
    }
    let response_body = match rule.response_body.as_str() {
        "" => None,
        name => Some(top_level(&method.output(), path, "response_body", name)?),
    };
    Ok(Binding { method: http_method.to_owned(), template, body: body(rule, path, method)?, response_body })
}

/// Whether a path ends at a message that is one text in JSON, which can stand in a segment.
fn is_text(error: &PathError, message: &MessageDescriptor) -> bool {
    let PathError::NotScalar(owner, name) = error else { return false };
    let owner = message.parent_pool().get_message_by_name(owner);
    let kind = owner.and_then(|owner| owner.get_field_by_name(name)).map(|field| field.kind());
    let inner = kind.as_ref().and_then(Kind::as_message);
    let known = inner.and_then(|inner| inner.full_name().strip_prefix("google.protobuf."));
    known.is_some_and(|known| TEXTS.contains(&known))
}

fn body(rule: &HttpRule, path: &str, method: &MethodDescriptor) -> Result<Body, Refusal> {
    match rule.body.as_str() {
        "" => Ok(Body::None),
        "*" => Ok(Body::Whole),
        name => top_level(&method.input(), path, "body", name).map(Body::Field),
    }
}

fn top_level(message: &MessageDescriptor, path: &str, option: &str, name: &str) -> Result<FieldDescriptor, Refusal> {
    let owner = message.full_name();
    match message.get_field_by_name(name) {
        None => {
            let problem = format!("`{path}`: {option}: `{owner}` has no field `{name}`");
            Err((problem, "name a field of the message itself"))
        }
        Some(field) => Ok(field),
    }
}

/// A token (RFC 9110, section 5.6.2) without lower case, which no registered method has.
fn is_method(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-*_".contains(&byte))
}
