//! The protobuf wire format: <https://protobuf.dev/programming-guides/encoding/>.

use super::violation::Malformed;

/// Groups within groups beyond this are refused (the limit that other implementations have).
const GROUP_DEPTH: usize = 100;

/// The low three bits of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WireType {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    StartGroup = 3,
    EndGroup = 4,
    Fixed32 = 5,
}

/// The value of one field occurrence, as far as it can be read without a descriptor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    /// What stands between the start and the end of a group.
    Group(&'a [u8]),
}

/// One field occurrence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occurrence<'a> {
    pub(super) number: u32,
    pub(super) value: Value<'a>,
    /// The occurrence as it stands, with its tag.
    pub(super) raw: &'a [u8],
}

/// The field occurrences of an encoded message, in wire order.
#[derive(Debug, Clone)]
pub(super) struct Occurrences<'a> {
    rest: &'a [u8],
}

pub(super) fn occurrences(message: &[u8]) -> Occurrences<'_> {
    Occurrences { rest: message }
}

impl<'a> Iterator for Occurrences<'a> {
    type Item = Result<Occurrence<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let start = self.rest;
        let read = read_field(&mut self.rest, GROUP_DEPTH).and_then(|(number, value)| {
            let value = value.ok_or(Malformed::Wire("a group ends that did not start"))?;
            let raw = &start[..start.len() - self.rest.len()];
            Ok(Occurrence { number, value, raw })
        });
        if read.is_err() {
            self.rest = &[];
        }
        Some(read)
    }
}

/// Reads one field; no value means the end of the group of that number.
fn read_field<'a>(rest: &mut &'a [u8], depth: usize) -> Result<(u32, Option<Value<'a>>), Malformed> {
    let tag = u32::try_from(read_varint(rest)?).map_err(|_| Malformed::Wire("a tag is too large"))?;
    let number = tag >> 3;
    if number == 0 {
        return Err(Malformed::Wire("a field has number 0"));
    }
    let value = match tag & 7 {
        0 => Value::Varint(read_varint(rest)?),
        1 => Value::Fixed64(read_fixed64(rest)?),
        2 => {
            let length = usize::try_from(read_varint(rest)?).unwrap_or(usize::MAX);
            Value::Bytes(take(rest, length)?)
        }
        3 => Value::Group(read_group(rest, number, depth)?),
        4 => return Ok((number, None)),
        5 => Value::Fixed32(read_fixed32(rest)?),
        _ => return Err(Malformed::Wire("a wire type is unknown")),
    };
    Ok((number, Some(value)))
}

fn read_group<'a>(rest: &mut &'a [u8], number: u32, depth: usize) -> Result<&'a [u8], Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed::Depth)?;
    let start = *rest;
    loop {
        let before = rest.len();
        if let (end, None) = read_field(rest, depth)? {
            return if end == number {
                Ok(&start[..start.len() - before])
            } else {
                Err(Malformed::Wire("a group ends with another's number"))
            };
        }
    }
}

#[inline]
pub(super) fn read_varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for (index, &byte) in rest.iter().take(10).enumerate() {
        if index == 9 && byte > 1 {
            return Err(Malformed::Wire("a varint is too large"));
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *rest = &rest[index + 1..];
            return Ok(value);
        }
    }
    Err(Malformed::Wire("a varint does not end"))
}

pub(super) fn read_fixed32(rest: &mut &[u8]) -> Result<u32, Malformed> {
    let (bytes, after) = rest.split_first_chunk().ok_or(CUT)?;
    *rest = after;
    Ok(u32::from_le_bytes(*bytes))
}

pub(super) fn read_fixed64(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let (bytes, after) = rest.split_first_chunk().ok_or(CUT)?;
    *rest = after;
    Ok(u64::from_le_bytes(*bytes))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (taken, after) = rest.split_at_checked(length).ok_or(CUT)?;
    *rest = after;
    Ok(taken)
}

const CUT: Malformed = Malformed::Wire("a field is cut short");

#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

#[inline]
pub(super) fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: WireType) {
    put_varint(out, u64::from(number) << 3 | wire_type as u64);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, WireType::Bytes);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Leaves room for a length of one byte, which is enough for most messages; [`close`] writes it.
pub(super) fn open(out: &mut Vec<u8>) -> usize {
    out.push(0);
    out.len()
}

/// Writes the length of what follows `start`, moving it where the length needs more than one byte.
pub(super) fn close(out: &mut Vec<u8>, start: usize) {
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
