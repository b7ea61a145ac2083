//! Fields that a request must set: `google.api.field_behavior` REQUIRED, here and in the messages inside.

use std::collections::HashMap;

use accord_api::google::api::FieldBehavior;
use accord_wire::{MAX_DEPTH, Malformed, Value};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, Value as Reflected};

/// The required fields of a message type and of the types inside it. Empty where there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Required {
    shapes: Vec<MessageRequirements>,
}

#[derive(Clone, Debug, Default)]
struct MessageRequirements {
    /// Required fields, each before the others of its oneof: of fields that exclude each other, one is enough.
    required: Vec<Vec<FieldDescriptor>>,
    /// Message fields, each with the index of its type's shape. Types may hold themselves.
    inside: Vec<(FieldDescriptor, usize)>,
}

impl Required {
    pub(crate) fn of(root: &MessageDescriptor) -> Self {
        let mut shapes = Vec::new();
        collect(root, &mut shapes, &mut HashMap::new());
        if shapes.iter().all(|shape| shape.required.is_empty()) {
            return Self::default();
        }
        Self { shapes }
    }

    /// The first field that is required and not set: one is enough to refuse a request, and a list may lack many.
    pub(crate) fn missing(&self, wire: &[u8]) -> Result<Option<String>, Malformed> {
        if self.shapes.is_empty() { Ok(None) } else { self.look(0, &[wire], MAX_DEPTH) }
    }

    fn look(&self, shape: usize, pieces: &[&[u8]], depth: usize) -> Result<Option<String>, Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed::TooDeep)?;
        let shape = &self.shapes[shape];
        let mut seen = HashMap::<u32, Vec<Value<'_>>>::new();
        for field in pieces.iter().flat_map(|piece| accord_wire::occurrences(piece)) {
            let field = field?;
            if shape.asks_for(field.number) {
                seen.entry(field.number).or_default().push(field.value);
            }
        }
        let occurrences = |field: &FieldDescriptor| seen.get(&field.number()).map(Vec::as_slice).unwrap_or_default();
        let is_given = |fields: &[FieldDescriptor]| fields.iter().any(|field| is_set(field, occurrences(field)));
        if let Some(missing) = shape.required.iter().find(|fields| !is_given(fields)) {
            return Ok(missing.first().map(|field| field.name().to_owned()));
        }
        for (field, inner) in &shape.inside {
            let bodies: Vec<_> = occurrences(field).iter().filter_map(body).collect();
            // The occurrences of a single message are pieces of one.
            let together = if field.is_list() { 1 } else { bodies.len().max(1) };
            for (index, pieces) in bodies.chunks(together).enumerate() {
                if let Some(missing) = self.look(*inner, pieces, depth)? {
                    let place = if field.is_list() { format!("[{index}]") } else { String::new() };
                    return Ok(Some(format!("{}{place}.{missing}", field.name())));
                }
            }
        }
        Ok(None)
    }
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

fn is_required(field: &FieldDescriptor) -> bool {
    let Some(extension) = field.parent_pool().get_extension_by_name("google.api.field_behavior") else {
        return false;
    };
    let options = field.options();
    options.has_extension(&extension)
        && options.get_extension(&extension).as_list().is_some_and(|behaviours| {
            behaviours.iter().any(|behaviour| *behaviour == Reflected::EnumNumber(FieldBehavior::Required as i32))
        })
}

/// A field without presence is set where it is not its default (AIP-203).
fn is_set(field: &FieldDescriptor, occurrences: &[Value<'_>]) -> bool {
    match occurrences.last() {
        None => false,
        Some(_) if field.supports_presence() || field.is_list() || field.is_map() => true,
        Some(Value::Varint(bits) | Value::Fixed64(bits)) => *bits != 0,
        Some(Value::Fixed32(bits)) => *bits != 0,
        Some(Value::Bytes(bytes) | Value::Group(bytes)) => !bytes.is_empty(),
    }
}

fn body<'a>(value: &Value<'a>) -> Option<&'a [u8]> {
    match value {
        Value::Bytes(bytes) | Value::Group(bytes) => Some(bytes),
        _ => None,
    }
}
