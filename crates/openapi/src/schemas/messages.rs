//! Schemas of messages and enums themselves.

use std::fmt::Write;

use prost_reflect::{EnumDescriptor, FieldDescriptor, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::Schemas;
use crate::members::{Form, Taken, is_output_only, is_required, oneofs};
use crate::object::put_unless_empty;

/// A message as an object, without what is given elsewhere. Extensions of proto2 are members that it does not name.
pub(crate) fn object(schemas: &mut Schemas, message: &MessageDescriptor, form: Form, taken: &Taken) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for field in message.fields().filter(|field| !taken.has(field)) {
        let within = taken.within(&field);
        properties.insert(form.name(&field).to_owned(), schemas.field(&field, form, &within));
        if form.is_request && within.is_empty() && is_required(&field) && !is_output_only(&field) {
            required.push(Value::from(form.name(&field)));
        }
    }
    let mut schema = Map::from_iter([("type".to_owned(), json!("object"))]);
    let groups = groups(message, form, taken);
    let description = description(schemas.comment(&message.parent_file(), message.path()), &groups);
    put_unless_empty(&mut schema, "description", description.into());
    put_unless_empty(&mut schema, "properties", properties.into());
    put_unless_empty(&mut schema, "required", required.into());
    put_unless_empty(&mut schema, "x-accord-oneofs", groups.into());
    schema.into()
}

/// The groups of members that exclude each other.
fn groups(message: &MessageDescriptor, form: Form, taken: &Taken) -> Map<String, Value> {
    let group = |(name, fields): (String, Vec<FieldDescriptor>)| {
        let members: Vec<_> =
            fields.iter().filter(|field| !taken.has(field)).map(|field| Value::from(form.name(field))).collect();
        (members.len() > 1).then(|| (name, members.into()))
    };
    oneofs(message).into_iter().filter_map(group).collect()
}

fn description(comment: &str, groups: &Map<String, Value>) -> String {
    let mut text = comment.to_owned();
    for members in groups.values().filter_map(Value::as_array) {
        let names: Vec<_> = members.iter().filter_map(Value::as_str).map(|name| format!("`{name}`")).collect();
        let separator = if text.is_empty() { "" } else { "\n\n" };
        write!(text, "{separator}At most one of {}.", names.join(", ")).unwrap_or_default();
    }
    text
}

/// An enum: by the names of its values, or by their numbers.
pub(crate) fn enumeration(schemas: &mut Schemas, declared: &EnumDescriptor, form: Form) -> Value {
    let file = declared.parent_file();
    let mut description = schemas.comment(&file, declared.path()).to_owned();
    let values: Vec<_> = declared.values().collect();
    for value in &values {
        let comment = schemas.comment(&file, value.path()).replace('\n', " ");
        if form.enum_numbers || !comment.is_empty() {
            let name = if form.enum_numbers {
                format!("{} is {}", value.number(), value.name())
            } else {
                value.name().to_owned()
            };
            let separator = if comment.is_empty() { "" } else { ": " };
            write!(description, "\n- {name}{separator}{comment}").unwrap_or_default();
        }
    }
    let mut listed: Vec<Value> = Vec::new();
    for value in &values {
        let value = if form.enum_numbers { json!(value.number()) } else { json!(value.name()) };
        if !listed.contains(&value) {
            listed.push(value);
        }
    }
    let mut schema = if form.enum_numbers {
        Map::from_iter([("type".to_owned(), json!("integer")), ("format".to_owned(), json!("int32"))])
    } else {
        Map::from_iter([("type".to_owned(), json!("string"))])
    };
    put_unless_empty(&mut schema, "description", description.trim().into());
    put_unless_empty(&mut schema, "enum", listed.into());
    schema.into()
}
