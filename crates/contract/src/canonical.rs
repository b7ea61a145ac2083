//! One spelling for all encodings of the same message, so that equal requests have equal cache keys.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::wire::{self, MAX_DEPTH, Malformed, Value};

/// The canonical form of a message: known fields in the order of their numbers without defaults, maps sorted by key,
/// then unknown fields in the order of theirs. It is a valid encoding of the same message, and its own canonical form.
pub fn canonical(descriptor: &MessageDescriptor, wire: &[u8]) -> Result<Bytes, Malformed> {
    let mut out = Vec::with_capacity(wire.len());
    message(descriptor, &[wire], MAX_DEPTH, &mut out)?;
    Ok(out.into())
}

/// The occurrences of one field.
#[derive(Default)]
struct Slot<'a> {
    values: Vec<Value<'a>>,
    raw: Vec<&'a [u8]>,
}

/// Writes the message that `pieces` make when merged one after another.
fn message(descriptor: &MessageDescriptor, pieces: &[&[u8]], depth: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    let mut unknown = Vec::new();
    for (number, slot) in slots(descriptor, pieces)? {
        match descriptor.get_field(number) {
            Some(known) => field(&known, &slot, depth, out)?,
            None => unknown.extend(slot.raw),
        }
    }
    out.extend(unknown.concat());
    Ok(())
}

fn slots<'a>(descriptor: &MessageDescriptor, pieces: &[&'a [u8]]) -> Result<BTreeMap<u32, Slot<'a>>, Malformed> {
    let mut slots = BTreeMap::<u32, Slot<'_>>::new();
    for occurrence in pieces.iter().flat_map(|piece| wire::fields(piece)) {
        let occurrence = occurrence?;
        // A member of a oneof takes away the members before it.
        if let Some(oneof) = descriptor.get_field(occurrence.number).and_then(|field| field.containing_oneof()) {
            for rival in oneof.fields().filter(|rival| rival.number() != occurrence.number) {
                slots.remove(&rival.number());
            }
        }
        let slot = slots.entry(occurrence.number).or_default();
        slot.values.push(occurrence.value);
        slot.raw.push(occurrence.raw);
    }
    Ok(slots)
}

fn field(field: &FieldDescriptor, slot: &Slot<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let number = field.number();
    match field.kind() {
        Kind::Message(entry) if field.is_map() => map(number, &entry, slot, depth, out),
        Kind::Message(inner) if field.is_list() => {
            slot.values.iter().try_for_each(|value| nested(field, &inner, &[pieces(field, *value)?], depth, out))
        }
        Kind::Message(inner) => {
            let pieces = slot.values.iter().map(|value| pieces(field, *value)).collect::<Result<Vec<_>, _>>()?;
            nested(field, &inner, &pieces, depth, out)
        }
        kind if field.is_list() => list(field, &kind, slot, out),
        kind => {
            let value = normal(&kind, *slot.values.last().ok_or(Malformed)?)?;
            if field.supports_presence() || !is_zero(value) {
                write(number, value, out);
            }
            Ok(())
        }
    }
}

fn pieces<'a>(field: &FieldDescriptor, value: Value<'a>) -> Result<&'a [u8], Malformed> {
    match value {
        Value::Group(bytes) if field.is_group() => Ok(bytes),
        Value::Bytes(bytes) if !field.is_group() => Ok(bytes),
        _ => Err(Malformed),
    }
}

fn nested(
    field: &FieldDescriptor,
    inner: &MessageDescriptor,
    pieces: &[&[u8]],
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let mut body = Vec::new();
    message(inner, pieces, depth, &mut body)?;
    let value = if field.is_group() { Value::Group(&body) } else { Value::Bytes(&body) };
    write(field.number(), value, out);
    Ok(())
}

/// Entries sorted by their key's bytes; the last entry of a key wins. Both halves are written, defaults too.
fn map(
    number: u32,
    entry: &MessageDescriptor,
    slot: &Slot<'_>,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let mut entries = BTreeMap::new();
    for value in &slot.values {
        let Value::Bytes(bytes) = value else { return Err(Malformed) };
        let halves = slots(entry, &[bytes])?;
        let key = half(&entry.map_entry_key_field(), &halves, depth)?;
        let value = half(&entry.map_entry_value_field(), &halves, depth)?;
        entries.insert(key, value);
    }
    for (key, value) in entries {
        write(number, Value::Bytes(&[key, value].concat()), out);
    }
    Ok(())
}

fn half(field: &FieldDescriptor, halves: &BTreeMap<u32, Slot<'_>>, depth: usize) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::new();
    let occurrences = halves.get(&field.number()).map(|slot| slot.values.as_slice()).unwrap_or_default();
    if let Kind::Message(inner) = field.kind() {
        let pieces = occurrences.iter().map(|value| pieces(field, *value)).collect::<Result<Vec<_>, _>>()?;
        nested(field, &inner, &pieces, depth, &mut out)?;
    } else {
        let value = occurrences.last().map_or(Ok(zero(&field.kind())), |value| normal(&field.kind(), *value))?;
        write(field.number(), value, &mut out);
    }
    Ok(out)
}

/// A list of numbers may come packed, one by one, or both.
fn list(field: &FieldDescriptor, kind: &Kind, slot: &Slot<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut elements = Vec::new();
    for value in &slot.values {
        match value {
            Value::Bytes(packed) if kind.wire_type() != WireType::LengthDelimited => {
                unpack(kind, packed, &mut elements)?;
            }
            value => elements.push(normal(kind, *value)?),
        }
    }
    if field.is_packed() && !elements.is_empty() {
        let mut packed = Vec::new();
        for element in elements {
            write_bare(element, &mut packed);
        }
        write(field.number(), Value::Bytes(&packed), out);
    } else {
        for element in elements {
            write(field.number(), element, out);
        }
    }
    Ok(())
}

fn unpack<'a>(kind: &Kind, packed: &'a [u8], elements: &mut Vec<Value<'a>>) -> Result<(), Malformed> {
    let mut rest = packed;
    while !rest.is_empty() {
        let element = wire::bare(kind.wire_type(), &mut rest)?;
        elements.push(normal(kind, element)?);
    }
    Ok(())
}

/// The value as every decoder understands it: varints cut to the width of their type, text checked.
#[expect(clippy::cast_possible_truncation, reason = "decoders truncate 32-bit varints so")]
#[expect(clippy::cast_sign_loss, reason = "negative 32-bit integers are written sign-extended")]
fn normal<'a>(kind: &Kind, value: Value<'a>) -> Result<Value<'a>, Malformed> {
    if value.wire_type() != kind.wire_type() {
        return Err(Malformed);
    }
    Ok(match (kind, value) {
        (Kind::Bool, Value::Varint(bits)) => Value::Varint(u64::from(bits != 0)),
        (Kind::Int32 | Kind::Enum(_), Value::Varint(bits)) => Value::Varint(i64::from(bits as i32) as u64),
        (Kind::Uint32 | Kind::Sint32, Value::Varint(bits)) => Value::Varint(u64::from(bits as u32)),
        (Kind::String, Value::Bytes(bytes)) => {
            std::str::from_utf8(bytes).map_err(|_| Malformed)?;
            value
        }
        _ => value,
    })
}

fn zero(kind: &Kind) -> Value<'static> {
    match kind.wire_type() {
        WireType::SixtyFourBit => Value::Fixed64(0),
        WireType::ThirtyTwoBit => Value::Fixed32(0),
        WireType::LengthDelimited => Value::Bytes(&[]),
        _ => Value::Varint(0),
    }
}

fn is_zero(value: Value<'_>) -> bool {
    matches!(value, Value::Varint(0) | Value::Fixed64(0) | Value::Fixed32(0) | Value::Bytes([]))
}

fn write(number: u32, value: Value<'_>, out: &mut Vec<u8>) {
    encode_key(number, value.wire_type(), out);
    write_bare(value, out);
    if let Value::Group(_) = value {
        encode_key(number, WireType::EndGroup, out);
    }
}

fn write_bare(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Varint(bits) => encode_varint(bits, out),
        Value::Fixed64(bits) => out.extend_from_slice(&bits.to_le_bytes()),
        Value::Fixed32(bits) => out.extend_from_slice(&bits.to_le_bytes()),
        Value::Bytes(bytes) => {
            encode_varint(bytes.len() as u64, out);
            out.extend_from_slice(bytes);
        }
        Value::Group(bytes) => out.extend_from_slice(bytes),
    }
}
