//! The writer: what it writes, the reader reads.

use crate::value::{Value, WireType};

/// Writes a variable-length integer.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

#[inline]
fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// Writes a field's tag: its number, and how its value is written.
#[inline]
pub fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: WireType) {
    put_varint(out, u64::from(number) << 3 | wire_type as u64);
}

/// Writes a field that holds a string, bytes or a message.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_field(out, number, Value::Bytes(bytes));
}

/// Writes a field.
pub fn put_field(out: &mut Vec<u8>, number: u32, value: Value<'_>) {
    put_tag(out, number, value.wire_type());
    put_value(out, value);
    if let Value::Group(_) = value {
        put_tag(out, number, WireType::EndGroup);
    }
}

/// Writes a value without its tag, as in a packed list.
#[inline]
pub fn put_value(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Varint(bits) => put_varint(out, bits),
        Value::Fixed64(bits) => out.extend_from_slice(&bits.to_le_bytes()),
        Value::Fixed32(bits) => out.extend_from_slice(&bits.to_le_bytes()),
        Value::Bytes(bytes) => {
            put_varint(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
        Value::Group(bytes) => out.extend_from_slice(bytes),
    }
}

/// Leaves room for a length of one byte, which is enough for most messages; [`close_length`] writes it.
#[inline]
pub fn open_length(out: &mut Vec<u8>) -> usize {
    out.push(0);
    out.len()
}

/// Writes the length of what follows `start`, moving it where the length needs more than one byte.
pub fn close_length(out: &mut Vec<u8>, start: usize) {
    let end = out.len();
    let length = end - start;
    if length < 0x80 {
        out[start - 1] = low_byte(length as u64);
        return;
    }
    let width = (length.ilog2() / 7 + 1) as usize;
    out.resize(end + width - 1, 0);
    out.copy_within(start..end, start - 1 + width);
    for index in 0..width {
        let more = if index + 1 < width { 0x80 } else { 0 };
        out[start - 1 + index] = low_byte(length as u64 >> (7 * index)) & 0x7f | more;
    }
}
