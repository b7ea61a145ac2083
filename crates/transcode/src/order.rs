//! Wire bytes in any order, made into the order in which JSON is written.
//!
//! JSON has one key per field. Encoders nearly always write fields in ascending order and repeated ones together; then
//! the bytes are taken as they are. Otherwise they are rearranged into that form first.

use accord_wire::{Occurrence, Value, WireType, occurrences, put_bytes, put_tag};

use crate::{
    members::Seen,
    schema::{Field, Form, Shape},
    violation::Malformed,
};

/// Bytes of memory that an occurrence takes while a message is rearranged.
pub(crate) const SORTED: usize = size_of::<(usize, Occurrence<'_>)>();

/// Whether `message` has known fields in ascending order, each single one and each oneof at most once.
pub(crate) fn is_ordered(shape: &Shape, message: &[u8]) -> Result<bool, Malformed> {
    let (mut last, mut expected, mut oneofs) = (0, 0, Seen::default());
    let mut ordered = true;
    // Read to the end in any case: what is malformed anywhere is refused before anything is written.
    for occurrence in occurrences(message) {
        let number = occurrence?.number;
        let Some(index) = shape.by_number(number, expected) else {
            ordered &= number >= last;
            last = number;
            continue;
        };
        let field = &shape.fields[index];
        let single = matches!(field.form, Form::Single { .. });
        ordered &= number > last || (number == last && !single);
        ordered &= field.oneof.is_none_or(|oneof| oneofs.insert(oneof));
        (last, expected) = (number, index + 1);
    }
    Ok(ordered)
}

/// `message` in that order.
pub(crate) fn rearranged(shape: &Shape, message: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut found = Vec::new();
    for occurrence in occurrences(message) {
        let occurrence = occurrence?;
        if let Some(index) = shape.by_number(occurrence.number, 0) {
            found.push((index, occurrence));
        }
    }
    drop_replaced(shape, &mut found);
    // Stable: the elements of a list keep their order, and the last of a single field stays the last.
    found.sort_by_key(|(index, _)| *index);
    let mut out = Vec::with_capacity(message.len());
    for group in found.chunk_by(|(left, _), (right, _)| left == right) {
        put_field(&mut out, &shape.fields[group[0].0], group);
    }
    Ok(out)
}

/// Setting one field of a oneof clears what its other fields held until then.
fn drop_replaced(shape: &Shape, found: &mut Vec<(usize, Occurrence<'_>)>) {
    let mut kept: Vec<(usize, Option<usize>)> = Vec::new();
    found.reverse();
    found.retain(|(index, _)| {
        let Some(oneof) = shape.fields[*index].oneof else { return true };
        match kept.iter_mut().find(|(known, _)| *known == oneof) {
            None => {
                kept.push((oneof, Some(*index)));
                true
            }
            Some((_, last)) => {
                // Seen from the end: the first other field ends what still counts.
                *last = last.filter(|last| last == index);
                last.is_some()
            }
        }
    });
    found.reverse();
}

fn put_field(out: &mut Vec<u8>, field: &Field, found: &[(usize, Occurrence<'_>)]) {
    match (field.form, found) {
        (Form::Single { .. }, [.., (_, last)]) => match last.value {
            Value::Bytes(_) if field.kind.is_message() => put_bytes(out, field.number, &merged(found)),
            Value::Group(_) => {
                put_tag(out, field.number, WireType::StartGroup);
                out.extend_from_slice(&merged(found));
                put_tag(out, field.number, WireType::EndGroup);
            }
            _ => out.extend_from_slice(last.raw),
        },
        _ => found.iter().for_each(|(_, occurrence)| out.extend_from_slice(occurrence.raw)),
    }
}

/// Concatenated encodings are the encoding of the merged message.
fn merged(found: &[(usize, Occurrence<'_>)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (_, occurrence) in found {
        if let Value::Bytes(bytes) | Value::Group(bytes) = occurrence.value {
            all.extend_from_slice(bytes);
        }
    }
    all
}
