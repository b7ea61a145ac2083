//! Fields that a request must set: `google.api.field_behavior` REQUIRED, here and in the messages inside.

use std::collections::HashMap;

use accord_api::google::api::FieldBehavior;
use accord_wire::{MAX_DEPTH, Malformed, Value};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::behavior::behaviors;

/// The required fields of a message type and of the types inside it. Empty where there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Required {
    shapes: Vec<MessageRequirements>,
    /// The field mask of the message: it names what of the other fields is given.
    mask: Option<u32>,
}

#[derive(Clone, Debug, Default)]
struct MessageRequirements {
    /// Required fields, each before the others of its oneof: of fields that exclude each other, one is enough.
    required: Vec<Vec<FieldDescriptor>>,
    /// Message fields, each with the index of its type's shape. Types may hold themselves.
    inside: Vec<(FieldDescriptor, usize)>,
}

/// What of a message counts: all of it, or what a mask names.
#[derive(Clone, Copy)]
struct Scope<'a> {
    /// The paths of the mask; empty where there is none.
    mask: &'a [&'a str],
    /// Where the message stands, as the paths are written; none for the request itself, whose fields they don't name.
    at: Option<&'a str>,
}

impl Required {
    pub(crate) fn of(root: &MessageDescriptor) -> Self {
        let mut shapes = Vec::new();
        collect(root, &mut shapes, &mut HashMap::new());
        if shapes.iter().all(|shape| shape.required.is_empty()) {
            return Self::default();
        }
        let mask = root.fields().find(|field| !field.is_list() && is_mask(&field.kind()));
        Self { shapes, mask: mask.map(|field| field.number()) }
    }

    /// The required fields, each with its message's name.
    pub(crate) fn names(&self) -> Vec<String> {
        let all = self.shapes.iter().flat_map(|shape| &shape.required).filter_map(|fields| fields.first());
        all.map(|field| format!("{}.{}", field.parent_message().name(), field.name())).collect()
    }

    /// The first field that is required and not set: one is enough to refuse a request, and a list may lack many.
    pub(crate) fn missing(&self, wire: &[u8]) -> Result<Option<String>, Malformed> {
        if self.shapes.is_empty() {
            return Ok(None);
        }
        let mask = self.mask.map_or(Ok(Vec::new()), |number| paths(wire, number))?;
        self.look(0, &[wire], MAX_DEPTH, Scope { mask: &mask, at: None })
    }

    fn look(
        &self,
        shape: usize,
        pieces: &[&[u8]],
        depth: usize,
        scope: Scope<'_>,
    ) -> Result<Option<String>, Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed::TooDeep)?;
        let shape = &self.shapes[shape];
        let mut seen = HashMap::<u32, Vec<Value<'_>>>::new();
        for field in pieces.iter().flat_map(|piece| accord_wire::occurrences(piece)) {
            let field = field?;
            if shape.asks_for(field.number) {
                seen.entry(field.number).or_default().push(field.value);
            }
        }
        let is_given = |fields: &[FieldDescriptor]| fields.iter().any(|field| seen.contains_key(&field.number()));
        let counts = |fields: &[FieldDescriptor]| fields.iter().any(|field| scope.covers(field.name()));
        if let Some(missing) = shape.required.iter().find(|fields| !is_given(fields) && counts(fields)) {
            return Ok(missing.first().map(|field| field.name().to_owned()));
        }
        for (field, inner) in &shape.inside {
            let bodies: Vec<_> = seen.get(&field.number()).into_iter().flatten().filter_map(body).collect();
            let at = scope.inside(field.name());
            // The occurrences of a single message are pieces of one.
            let together = if field.is_list() { 1 } else { bodies.len().max(1) };
            for (index, pieces) in bodies.chunks(together).enumerate() {
                if let Some(missing) = self.look(*inner, pieces, depth, Scope { at: Some(&at), ..scope })? {
                    let place = if field.is_list() { format!("[{index}]") } else { String::new() };
                    return Ok(Some(format!("{}{place}.{missing}", field.name())));
                }
            }
        }
        Ok(None)
    }
}

impl Scope<'_> {
    /// Whether a field of the message counts: the mask names it, or something around it.
    fn covers(self, name: &str) -> bool {
        if self.mask.is_empty() || self.at.is_none() {
            return true;
        }
        let path = self.inside(name);
        let is_around =
            |masked: &str| path.strip_prefix(masked).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.mask.iter().any(|masked| *masked == "*" || is_around(masked))
    }

    /// The path of a field of the message, as the mask would name it: from within a field of the request.
    fn inside(self, name: &str) -> String {
        match self.at {
            None => String::new(),
            Some("") => name.to_owned(),
            Some(at) => format!("{at}.{name}"),
        }
    }
}

fn is_mask(kind: &Kind) -> bool {
    kind.as_message().is_some_and(|message| message.full_name() == "google.protobuf.FieldMask")
}

/// The paths of the field mask in a field.
fn paths(wire: &[u8], number: u32) -> Result<Vec<&str>, Malformed> {
    let mut paths = Vec::new();
    for occurrence in accord_wire::occurrences(wire) {
        let occurrence = occurrence?;
        let Some(mask) = body(&occurrence.value).filter(|_| occurrence.number == number) else { continue };
        for path in accord_wire::occurrences(mask) {
            if let (1, Value::Bytes(path)) = (path?.number, path?.value) {
                paths.extend(std::str::from_utf8(path));
            }
        }
    }
    Ok(paths)
}

impl MessageRequirements {
    fn asks_for(&self, number: u32) -> bool {
        let inside = self.inside.iter().map(|(field, _)| field);
        self.required.iter().flatten().chain(inside).any(|field| field.number() == number)
    }
}

fn collect(
    message: &MessageDescriptor,
    shapes: &mut Vec<MessageRequirements>,
    known: &mut HashMap<String, usize>,
) -> usize {
    if let Some(index) = known.get(message.full_name()) {
        return *index;
    }
    let index = shapes.len();
    known.insert(message.full_name().to_owned(), index);
    shapes.push(MessageRequirements::default());
    for field in message.fields() {
        if is_required(&field) {
            shapes[index].required.push(with_alternatives(&field));
        }
        if let (Kind::Message(inner), false) = (field.kind(), field.is_map()) {
            let inner = collect(&inner, shapes, known);
            shapes[index].inside.push((field, inner));
        }
    }
    index
}

fn with_alternatives(field: &FieldDescriptor) -> Vec<FieldDescriptor> {
    let others = field.containing_oneof().into_iter().flat_map(|oneof| oneof.fields().collect::<Vec<_>>());
    std::iter::once(field.clone()).chain(others.filter(|other| other != field)).collect()
}

/// A field whose absence does not show can't be missing.
fn is_required(field: &FieldDescriptor) -> bool {
    field.supports_presence() && behaviors(field).contains(&FieldBehavior::Required)
}

fn body<'a>(value: &Value<'a>) -> Option<&'a [u8]> {
    match value {
        Value::Bytes(bytes) | Value::Group(bytes) => Some(bytes),
        _ => None,
    }
}
