//! How much memory a request takes as the tree of values that rules see: many times its bytes, where they are small things.

use accord_wire::{Value, WireType, occurrences, read_value};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value as Node};

use crate::Unreadable;

/// How deep the library reads.
const DEEPEST: usize = 100;

/// A value, in a vector that doubles as it grows.
const VALUE: u64 = 2 * size_of::<Node>() as u64;

/// The fields of a message that has any: a leaf of a `BTreeMap` has room for eleven, and is half full at least.
const FIELDS: u64 = 11 * size_of::<(u32, Node, DynamicMessage)>() as u64;

/// Bytes of memory that a message takes as a tree, counted from above, beside those of its strings.
pub(crate) fn weight(message: &MessageDescriptor, encoded: &[u8]) -> Result<u64, Unreadable> {
    weigh(message, encoded, DEEPEST)
}

fn weigh(message: &MessageDescriptor, encoded: &[u8], depth: usize) -> Result<u64, Unreadable> {
    let depth = depth.checked_sub(1).ok_or(Unreadable)?;
    let (mut weight, mut fields, mut last) = (0, 0_u64, None);
    for occurrence in occurrences(encoded) {
        let occurrence = occurrence.map_err(|_| Unreadable)?;
        if last != Some(occurrence.number) {
            fields += 1;
        }
        last = Some(occurrence.number);
        // What is not known is kept as well.
        let field = message.get_field(occurrence.number);
        weight += field.map_or(Ok(VALUE), |field| weigh_value(&field, occurrence.value, depth))?;
    }
    Ok(weight + fields.div_ceil(5) * FIELDS)
}

fn weigh_value(field: &FieldDescriptor, value: Value<'_>, depth: usize) -> Result<u64, Unreadable> {
    match (field.kind(), value) {
        (Kind::Message(inner), Value::Bytes(encoded) | Value::Group(encoded)) => {
            Ok(VALUE + weigh(&inner, encoded, depth)?)
        }
        (Kind::String | Kind::Bytes, _) => Ok(VALUE),
        (kind, Value::Bytes(packed)) => Ok(VALUE + VALUE * elements(&kind, packed)?),
        _ => Ok(VALUE),
    }
}

/// How many elements are in a packed list.
fn elements(kind: &Kind, mut packed: &[u8]) -> Result<u64, Unreadable> {
    let wire_type = match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => WireType::Fixed64,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => WireType::Fixed32,
        _ => WireType::Varint,
    };
    let mut elements = 0;
    while !packed.is_empty() {
        read_value(&mut packed, wire_type).map_err(|_| Unreadable)?;
        elements += 1;
    }
    Ok(elements)
}
