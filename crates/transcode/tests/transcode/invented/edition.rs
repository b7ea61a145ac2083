//! A descriptor set in edition 2023 that says what another says in proto2 or proto3: each field by its features.

use accord_wire::{Occurrence, Value, WireType, occurrences, put_bytes, put_field, put_tag, put_varint};

/// `google.protobuf.FieldDescriptorProto`.
mod field {
    pub(super) const EXTENDEE: u32 = 2;
    pub(super) const LABEL: u32 = 4;
    pub(super) const TYPE: u32 = 5;
    pub(super) const OPTIONS: u32 = 8;
    pub(super) const ONEOF_INDEX: u32 = 9;
    pub(super) const PROTO3_OPTIONAL: u32 = 17;
}

/// `google.protobuf.FeatureSet`.
const PRESENCE: (u32, [u64; 3]) = (1, [1, 2, 3]);
const REPEATED_ENCODING: u32 = 3;
const MESSAGE_ENCODING: u32 = 5;

/// The file `x.proto` of a set, and the files it imports as they are.
pub(super) fn of_set(set: &[u8]) -> Vec<u8> {
    rewritten(set, |out, occurrence| match occurrence.value {
        Value::Bytes(file) if text(file, 1) == b"x.proto" => put_bytes(out, 1, &of_file(file)),
        _ => out.extend_from_slice(occurrence.raw),
    })
}

fn of_file(file: &[u8]) -> Vec<u8> {
    let is_proto3 = text(file, 12) == b"proto3";
    let mut out = rewritten(file, |out, occurrence| match (occurrence.number, occurrence.value) {
        (4, Value::Bytes(message)) => put_bytes(out, 4, &of_message(message, is_proto3)),
        (12, _) => {}
        _ => out.extend_from_slice(occurrence.raw),
    });
    put_bytes(&mut out, 12, b"editions");
    put_field(&mut out, 14, Value::Varint(1000));
    out
}

fn of_message(message: &[u8], is_proto3: bool) -> Vec<u8> {
    let fields = occurrences(message).map(Result::unwrap).filter(|it| it.number == 2);
    // Synthetic oneofs stand behind the others.
    let synthetic = fields.filter(|it| number(bytes(it), field::PROTO3_OPTIONAL) == Some(1)).count();
    let oneofs = occurrences(message).filter(|it| it.unwrap().number == 8).count() - synthetic;
    let mut seen = 0;
    rewritten(message, |out, occurrence| match (occurrence.number, occurrence.value) {
        (number @ (2 | 6), Value::Bytes(field)) => put_bytes(out, number, &of_field(field, is_proto3)),
        (3, Value::Bytes(inner)) => put_bytes(out, 3, &of_message(inner, is_proto3)),
        (8, _) => {
            seen += 1;
            if seen <= oneofs {
                out.extend_from_slice(occurrence.raw);
            }
        }
        _ => out.extend_from_slice(occurrence.raw),
    })
}

fn of_field(field: &[u8], is_proto3: bool) -> Vec<u8> {
    let is_optional_of_proto3 = number(field, field::PROTO3_OPTIONAL) == Some(1);
    let (label, kind) = (number(field, field::LABEL), number(field, field::TYPE).unwrap());
    let packed = occurrences(text(field, field::OPTIONS)).map(Result::unwrap).find(|it| it.number == 2);
    let mut out = rewritten(field, |out, occurrence| match occurrence.number {
        field::PROTO3_OPTIONAL | field::LABEL | field::TYPE => {}
        field::ONEOF_INDEX if is_optional_of_proto3 => {}
        _ => out.extend_from_slice(occurrence.raw),
    });
    let (is_repeated, is_message) = (label == Some(3), matches!(kind, 10 | 11));
    put_field(&mut out, field::LABEL, Value::Varint(if is_repeated { 3 } else { 1 }));
    put_field(&mut out, field::TYPE, Value::Varint(if kind == 10 { 11 } else { kind }));
    let has_own_presence = number(field, field::ONEOF_INDEX).is_none() && text(field, field::EXTENDEE).is_empty();
    let mut features = Vec::new();
    if has_own_presence && label == Some(2) {
        put_field(&mut features, PRESENCE.0, Value::Varint(PRESENCE.1[2]));
    } else if has_own_presence && is_proto3 && !is_repeated && !is_message {
        put_field(&mut features, PRESENCE.0, Value::Varint(PRESENCE.1[1]));
    }
    if is_repeated && !is_message && !matches!(kind, 9 | 12) {
        let is_packed = packed.map_or(is_proto3, |packed| packed.value == Value::Varint(1));
        put_field(&mut features, REPEATED_ENCODING, Value::Varint(if is_packed { 1 } else { 2 }));
    }
    if kind == 10 {
        put_field(&mut features, MESSAGE_ENCODING, Value::Varint(2));
    }
    let mut options = Vec::new();
    put_tag(&mut options, 21, WireType::Bytes);
    put_varint(&mut options, features.len() as u64);
    options.extend(features);
    put_bytes(&mut out, field::OPTIONS, &options);
    out
}

fn rewritten(message: &[u8], mut put: impl FnMut(&mut Vec<u8>, Occurrence<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    occurrences(message).for_each(|occurrence| put(&mut out, occurrence.unwrap()));
    out
}

fn bytes<'a>(occurrence: &Occurrence<'a>) -> &'a [u8] {
    if let Value::Bytes(bytes) = occurrence.value { bytes } else { &[] }
}

fn text(message: &[u8], number: u32) -> &[u8] {
    let found = occurrences(message).map(Result::unwrap).filter(|it| it.number == number).last();
    found.map_or(&[], |found| bytes(&found))
}

fn number(message: &[u8], number: u32) -> Option<u64> {
    let found = occurrences(message).map(Result::unwrap).filter(|it| it.number == number).last();
    found.and_then(|found| if let Value::Varint(value) = found.value { Some(value) } else { None })
}
