//! The reader: the occurrences of fields in the order in which they are written.

use crate::malformed::Malformed;
use crate::value::{Value, WireType};

/// Messages and groups nest at most this deep, the limit that other implementations have.
pub const MAX_DEPTH: usize = 100;

/// One occurrence of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence<'a> {
    /// The field's number.
    pub number: u32,
    /// Its value.
    pub value: Value<'a>,
    /// The occurrence as it stands, with its tag.
    pub raw: &'a [u8],
}

/// The field occurrences of an encoded message, in wire order. Nothing follows an error.
#[derive(Clone, Debug)]
pub struct Occurrences<'a> {
    rest: &'a [u8],
}

/// Reads a message.
#[inline]
pub fn occurrences(message: &[u8]) -> Occurrences<'_> {
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
        let read = read_field(&mut self.rest, MAX_DEPTH).and_then(|(number, value)| {
            let value = value.ok_or(Malformed::UnopenedGroup)?;
            let raw = &start[..start.len() - self.rest.len()];
            Ok(Occurrence { number, value, raw })
        });
        if read.is_err() {
            self.rest = &[];
        }
        Some(read)
    }
}

/// Reads a value without its tag, as in a packed list. Groups have no such form.
#[inline]
pub fn read_value<'a>(rest: &mut &'a [u8], wire_type: WireType) -> Result<Value<'a>, Malformed> {
    match wire_type {
        WireType::Varint => read_varint(rest).map(Value::Varint),
        WireType::Fixed64 => read_array(rest).map(|bytes| Value::Fixed64(u64::from_le_bytes(bytes))),
        WireType::Fixed32 => read_array(rest).map(|bytes| Value::Fixed32(u32::from_le_bytes(bytes))),
        WireType::Bytes => {
            let length = usize::try_from(read_varint(rest)?).unwrap_or(usize::MAX);
            let (bytes, after) = rest.split_at_checked(length).ok_or(Malformed::CutShort)?;
            *rest = after;
            Ok(Value::Bytes(bytes))
        }
        WireType::StartGroup | WireType::EndGroup => Err(Malformed::WrongType),
    }
}

/// Reads one field; no value means the end of the group of that number.
#[inline]
fn read_field<'a>(rest: &mut &'a [u8], depth: usize) -> Result<(u32, Option<Value<'a>>), Malformed> {
    let tag = u32::try_from(read_varint(rest)?).map_err(|_| Malformed::LargeTag)?;
    let number = tag >> 3;
    if number == 0 {
        return Err(Malformed::NumberZero);
    }
    let value = match tag & 7 {
        0 => read_value(rest, WireType::Varint)?,
        1 => read_value(rest, WireType::Fixed64)?,
        2 => read_value(rest, WireType::Bytes)?,
        3 => Value::Group(read_group(rest, number, depth)?),
        4 => return Ok((number, None)),
        5 => read_value(rest, WireType::Fixed32)?,
        _ => return Err(Malformed::UnknownWireType),
    };
    Ok((number, Some(value)))
}

/// Out of line: groups are rare, and everything else is read inline.
#[inline(never)]
fn read_group<'a>(rest: &mut &'a [u8], number: u32, depth: usize) -> Result<&'a [u8], Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed::TooDeep)?;
    let start = *rest;
    loop {
        let before = rest.len();
        if let (end, None) = read_field(rest, depth)? {
            return if end == number { Ok(&start[..start.len() - before]) } else { Err(Malformed::MismatchedGroup) };
        }
    }
}

/// Nearly all tags and most lengths take one byte.
#[inline]
fn read_varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    match *rest {
        [byte @ ..0x80, after @ ..] => {
            *rest = after;
            Ok(u64::from(*byte))
        }
        _ => read_long_varint(rest),
    }
}

fn read_long_varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for (index, &byte) in rest.iter().take(10).enumerate() {
        // The tenth byte has room for one bit only.
        if index == 9 && byte > 1 {
            return Err(Malformed::LargeVarint);
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *rest = &rest[index + 1..];
            return Ok(value);
        }
    }
    Err(Malformed::EndlessVarint)
}

#[inline]
fn read_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (array, after) = rest.split_first_chunk().ok_or(Malformed::CutShort)?;
    *rest = after;
    Ok(*array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_order_with_their_bytes() {
        let wire = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 0, 0, 0];
        let found: Vec<_> = occurrences(&wire).map(Result::unwrap).collect();
        assert_eq!(found[0], Occurrence { number: 1, value: Value::Varint(150), raw: &wire[..3] });
        assert_eq!(found[1].value, Value::Bytes(b"hi"));
        assert_eq!(found[2].value, Value::Fixed32(1));
    }

    #[test]
    fn groups_end_with_their_own_number() {
        let nested = [0x0b, 0x13, 0x18, 0x01, 0x14, 0x0c];
        let found: Vec<_> = occurrences(&nested).collect();
        assert_eq!(found[0].unwrap().value, Value::Group(&nested[1..5]));
        assert_eq!(occurrences(&[0x0b, 0x14]).next(), Some(Err(Malformed::MismatchedGroup)));
        assert_eq!(occurrences(&[0x0c]).next(), Some(Err(Malformed::UnopenedGroup)));
        assert!(occurrences(&[0x0b]).next().unwrap().is_err());
    }

    #[test]
    fn endless_nesting_is_malformed() {
        assert_eq!(occurrences(&[0x0b; 10_000]).next(), Some(Err(Malformed::TooDeep)));
    }

    #[test]
    fn truncated_values_are_malformed_and_nothing_follows_them() {
        for wire in [&[0x08][..], &[0x0a, 0x05, 1], &[0x0d, 1, 2], &[0x09, 1], &[0x00], &[0x0c]] {
            let mut read = occurrences(wire);
            assert!(read.next().unwrap().is_err(), "{wire:?}");
            assert_eq!(read.next(), None, "{wire:?}");
        }
    }

    #[test]
    fn varint_above_64_bits_is_malformed() {
        let with_last = |last| [&[0x08][..], &[0xff; 9], &[last]].concat();
        let largest = with_last(1);
        assert_eq!(occurrences(&largest).next().unwrap().unwrap().value, Value::Varint(u64::MAX));
        assert_eq!(occurrences(&with_last(2)).next(), Some(Err(Malformed::LargeVarint)));
        assert_eq!(occurrences(&with_last(0x80)).next(), Some(Err(Malformed::LargeVarint)));
    }
}
