//! What of a descriptor the canonical form depends on, in tables.

use std::collections::HashMap;

use accord_wire::{Malformed, WireType, occurrences};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::field_type::wire_type;

/// A message type.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    /// By ascending number.
    pub(super) fields: Vec<Field>,
    oneofs: usize,
}

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) wire_type: WireType,
    pub(super) what: What,
    pub(super) form: Form,
    oneof: Option<usize>,
}

/// How many values a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// At most one; its default is as good as its absence.
    Implicit,
    /// At most one.
    Explicit,
    List,
    Packed,
    Map,
}

/// What a value is, as far as it can be spelt in several ways.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Bool,
    /// An enum too.
    Int32,
    Uint32,
    Text,
    /// Has one spelling.
    Plain,
    /// A message or a group, by position among the shapes.
    Message(usize),
}

/// An occurrence: the position of its field, or what stands for an unknown number; and where it begins.
pub(super) type Place = (u32, u32);

/// Set in the place of an unknown field, so that these come last and in the order of their numbers.
const UNKNOWN: u32 = 1 << 31;

impl Shape {
    /// The occurrences in a message that count, in the order of their fields; those of one field in that of the wire.
    pub(super) fn places(&self, message: &[u8]) -> Result<Vec<Place>, Malformed> {
        let (mut places, mut at) = (Vec::<Place>::new(), 0);
        // Which member each oneof holds, and since when: a member takes away the members before it.
        let mut held = vec![(u32::MAX, 0); self.oneofs];
        for occurrence in occurrences(message) {
            let occurrence = occurrence?;
            let known = self.fields.binary_search_by_key(&occurrence.number, |field| field.number).ok();
            let position = known.and_then(|known| u32::try_from(known).ok()).unwrap_or(UNKNOWN | occurrence.number);
            if let Some(oneof) = known.and_then(|known| self.fields[known].oneof)
                && held[oneof].0 != position
            {
                held[oneof] = (position, at);
            }
            places.push((position, at));
            at += u32::try_from(occurrence.raw.len()).map_err(|_| Malformed::TooLarge)?;
        }
        places.retain(|(position, at)| match self.known(*position).and_then(|field| field.oneof) {
            Some(oneof) => held[oneof].0 == *position && held[oneof].1 <= *at,
            None => true,
        });
        // Stable, so that the last occurrence of a field stays the last.
        places.sort_by_key(|(position, _)| *position);
        Ok(places)
    }

    /// The field at a position, unless it is one for an unknown number.
    pub(super) fn known(&self, position: u32) -> Option<&Field> {
        self.fields.get(position as usize)
    }
}

/// The shape of a message type and of the types inside it, itself first. Types may hold themselves.
pub(super) fn shapes(root: &MessageDescriptor) -> Vec<Shape> {
    let mut shapes = Vec::new();
    collect(root, &mut shapes, &mut HashMap::new());
    shapes
}

fn collect(message: &MessageDescriptor, shapes: &mut Vec<Shape>, known: &mut HashMap<String, usize>) -> usize {
    if let Some(index) = known.get(message.full_name()) {
        return *index;
    }
    let index = shapes.len();
    known.insert(message.full_name().to_owned(), index);
    shapes.push(Shape::default());
    let fields = message.fields().map(|field| Field {
        number: field.number(),
        wire_type: wire_type(&field),
        what: what(&field.kind(), |inner| collect(inner, shapes, known)),
        form: form(&field),
        oneof: field.containing_oneof().and_then(|oneof| message.oneofs().position(|other| other == oneof)),
    });
    let mut fields: Vec<_> = fields.collect();
    fields.sort_by_key(|field| field.number);
    shapes[index] = Shape { fields, oneofs: message.oneofs().len() };
    index
}

fn what(kind: &Kind, inner: impl FnOnce(&MessageDescriptor) -> usize) -> What {
    match kind {
        Kind::Bool => What::Bool,
        Kind::Int32 | Kind::Enum(_) => What::Int32,
        Kind::Uint32 | Kind::Sint32 => What::Uint32,
        Kind::String => What::Text,
        Kind::Message(message) => What::Message(inner(message)),
        _ => What::Plain,
    }
}

fn form(field: &FieldDescriptor) -> Form {
    match field {
        field if field.is_map() => Form::Map,
        field if field.is_packed() => Form::Packed,
        field if field.is_list() => Form::List,
        field if field.supports_presence() => Form::Explicit,
        _ => Form::Implicit,
    }
}
