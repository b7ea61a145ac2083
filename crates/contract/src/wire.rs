//! Protobuf's wire format, one field after another, without a schema.

use prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::FieldDescriptor;

/// Messages nest at most this deep; what is deeper is malformed.
pub(crate) const MAX_DEPTH: usize = 100;

/// Bytes that are not a message of their type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is not valid in the protobuf wire format")]
pub struct Malformed;

/// One occurrence of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// Its number.
    pub number: u32,
    /// Its value.
    pub value: Value<'a>,
    /// The whole occurrence with its key.
    pub raw: &'a [u8],
}

/// A value as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A variable-length integer.
    Varint(u64),
    /// Eight bytes, little-endian.
    Fixed64(u64),
    /// A string, bytes, message or packed list.
    Bytes(&'a [u8]),
    /// What stands between the two keys of a group.
    Group(&'a [u8]),
    /// Four bytes, little-endian.
    Fixed32(u32),
}

impl Value<'_> {
    /// How the value is written.
    pub fn wire_type(&self) -> WireType {
        match self {
            Self::Varint(_) => WireType::Varint,
            Self::Fixed64(_) => WireType::SixtyFourBit,
            Self::Bytes(_) => WireType::LengthDelimited,
            Self::Group(_) => WireType::StartGroup,
            Self::Fixed32(_) => WireType::ThirtyTwoBit,
        }
    }
}

/// How the values of a field are written one by one. A kind alone does not tell groups from messages.
pub(crate) fn wire_type(field: &FieldDescriptor) -> WireType {
    if field.is_group() { WireType::StartGroup } else { field.kind().wire_type() }
}

/// The fields of a message in the order in which they are written. Nothing follows an error.
pub fn fields(wire: &[u8]) -> impl Iterator<Item = Result<Field<'_>, Malformed>> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next(&mut rest, MAX_DEPTH);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn next<'a>(rest: &mut &'a [u8], depth: usize) -> Result<Field<'a>, Malformed> {
    let start = *rest;
    let (number, wire_type) = decode_key(rest).map_err(|_| Malformed)?;
    let value = match wire_type {
        WireType::StartGroup => Value::Group(group(rest, number, depth)?),
        wire_type => bare(wire_type, rest)?,
    };
    Ok(Field { number, value, raw: &start[..start.len() - rest.len()] })
}

/// A value without its key, as in a packed list.
pub(crate) fn bare<'a>(wire_type: WireType, rest: &mut &'a [u8]) -> Result<Value<'a>, Malformed> {
    Ok(match wire_type {
        WireType::Varint => Value::Varint(decode_varint(rest).map_err(|_| Malformed)?),
        WireType::SixtyFourBit => Value::Fixed64(u64::from_le_bytes(array(rest)?)),
        WireType::ThirtyTwoBit => Value::Fixed32(u32::from_le_bytes(array(rest)?)),
        WireType::LengthDelimited => {
            let length = decode_varint(rest).map_err(|_| Malformed)?;
            Value::Bytes(take(rest, usize::try_from(length).map_err(|_| Malformed)?)?)
        }
        WireType::StartGroup | WireType::EndGroup => return Err(Malformed),
    })
}

fn group<'a>(rest: &mut &'a [u8], number: u32, depth: usize) -> Result<&'a [u8], Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    let start = *rest;
    loop {
        let inner = &start[..start.len() - rest.len()];
        let mut ahead = *rest;
        match decode_key(&mut ahead).map_err(|_| Malformed)? {
            (end, WireType::EndGroup) if end == number => {
                *rest = ahead;
                return Ok(inner);
            }
            (_, WireType::EndGroup) => return Err(Malformed),
            _ => next(rest, depth)?,
        };
    }
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    take(rest, N)?.try_into().map_err(|_| Malformed)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (taken, left) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_order_with_their_bytes() {
        let wire = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 0, 0, 0];
        let found: Vec<_> = fields(&wire).map(Result::unwrap).collect();
        assert_eq!(found[0], Field { number: 1, value: Value::Varint(150), raw: &wire[..3] });
        assert_eq!(found[1].value, Value::Bytes(b"hi"));
        assert_eq!(found[2].value, Value::Fixed32(1));
    }

    #[test]
    fn groups_end_with_their_own_number() {
        let nested = [0x0b, 0x13, 0x18, 0x01, 0x14, 0x0c];
        let found: Vec<_> = fields(&nested).collect();
        assert_eq!(found[0].unwrap().value, Value::Group(&nested[1..5]));
        assert!(fields(&[0x0b, 0x14]).next().unwrap().is_err());
        assert!(fields(&[0x0b]).next().unwrap().is_err());
    }

    #[test]
    fn endless_nesting_is_malformed() {
        assert!(fields(&[0x0b; 10_000]).next().unwrap().is_err());
    }

    #[test]
    fn truncated_values_are_malformed() {
        for wire in [&[0x08][..], &[0x0a, 0x05, 1], &[0x0d, 1, 2], &[0x09, 1], &[0x00], &[0x0c]] {
            assert!(fields(wire).next().unwrap().is_err(), "{wire:?}");
        }
    }
}
