//! Scalars of requests: from JSON, a path segment or a query parameter to the wire.

use std::borrow::Cow;

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use accord_wire::put_varint;

use crate::{
    json::{Reader, Token},
    number,
    schema::{Kind, Schema},
    violation::Violation,
};

/// A scalar as the wire holds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Scalar<'a> {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
    Bytes(Cow<'a, [u8]>),
}

impl Scalar<'_> {
    pub(crate) fn is_default(&self) -> bool {
        match self {
            Self::Varint(value) | Self::Fixed64(value) => *value == 0,
            Self::Fixed32(value) => *value == 0,
            Self::Bytes(bytes) => bytes.is_empty(),
        }
    }

    /// Writes the value without its tag.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Varint(value) => put_varint(out, *value),
            Self::Fixed32(value) => out.extend_from_slice(&value.to_le_bytes()),
            Self::Fixed64(value) => out.extend_from_slice(&value.to_le_bytes()),
            Self::Bytes(bytes) => {
                put_varint(out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
        }
    }
}

/// The scalar that comes next in a JSON text.
pub(crate) fn from_json<'a>(schema: &Schema, kind: Kind, reader: &mut Reader<'a>) -> Result<Scalar<'a>, Violation> {
    match (kind, reader.peek()?) {
        (Kind::Bool, Token::Bool) => Ok(Scalar::Varint(reader.bool()?.into())),
        (Kind::Enum(names), Token::Null) if schema.names(names).null => {
            reader.null()?;
            Ok(Scalar::Varint(0))
        }
        (Kind::Enum(_), Token::Number) => from_text(schema, kind, reader.number()?.into()),
        (Kind::Enum(names), Token::String) => {
            let number = schema.names(names).number(&reader.string()?);
            number.map(signed).ok_or_else(|| unfit(kind))
        }
        (Kind::String | Kind::Bytes, Token::String) => from_text(schema, kind, reader.string()?),
        (Kind::Bool | Kind::String | Kind::Bytes | Kind::Enum(_), _) => Err(unfit(kind)),
        (_, Token::Number) => from_text(schema, kind, reader.number()?.into()),
        (_, Token::String) => from_text(schema, kind, reader.string()?),
        _ => Err(unfit(kind)),
    }
}

/// The scalar that a text stands for. An enum is given by name or by number.
pub(crate) fn from_text<'a>(schema: &Schema, kind: Kind, text: Cow<'a, str>) -> Result<Scalar<'a>, Violation> {
    let scalar = match kind {
        Kind::Bool => match &*text {
            "true" => Some(Scalar::Varint(1)),
            "false" => Some(Scalar::Varint(0)),
            _ => None,
        },
        Kind::String => Some(Scalar::Bytes(match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })),
        Kind::Bytes => base64(&text).map(|bytes| Scalar::Bytes(Cow::Owned(bytes))),
        Kind::Enum(names) => schema.names(names).number(&text).or_else(|| within(&text)).map(signed),
        Kind::Int32 => within::<i32>(&text).map(signed),
        Kind::Int64 => within::<i64>(&text).map(signed),
        Kind::Sint32 => {
            within::<i32>(&text).map(|value| Scalar::Varint(u64::from((value << 1 ^ value >> 31).cast_unsigned())))
        }
        Kind::Sint64 => within::<i64>(&text).map(|value| Scalar::Varint((value << 1 ^ value >> 63).cast_unsigned())),
        Kind::Uint32 => within::<u32>(&text).map(|value| Scalar::Varint(value.into())),
        Kind::Uint64 => within(&text).map(Scalar::Varint),
        Kind::Sfixed32 => within::<i32>(&text).map(|value| Scalar::Fixed32(value.cast_unsigned())),
        Kind::Sfixed64 => within::<i64>(&text).map(|value| Scalar::Fixed64(value.cast_unsigned())),
        Kind::Fixed32 => within(&text).map(Scalar::Fixed32),
        Kind::Fixed64 => within(&text).map(Scalar::Fixed64),
        Kind::Float => number::float(&text).map(|value| Scalar::Fixed32(value.to_bits())),
        Kind::Double => number::double(&text).map(|value| Scalar::Fixed64(value.to_bits())),
        Kind::Message(_) | Kind::Group(_) => None,
    };
    scalar.ok_or_else(|| unfit(kind))
}

/// Negative numbers take ten bytes, as the wire format wants it.
fn signed(value: impl Into<i64>) -> Scalar<'static> {
    Scalar::Varint(value.into().cast_unsigned())
}

fn within<T: TryFrom<i128>>(text: &str) -> Option<T> {
    T::try_from(number::integer(text)?).ok()
}

/// Both alphabets, with padding or without.
fn base64(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const PLAIN: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
    const SAFE: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

    let engine = if text.contains(['-', '_']) { SAFE } else { PLAIN };
    engine.decode(text).ok()
}

fn unfit(kind: Kind) -> Violation {
    Violation::invalid(match kind {
        Kind::Bool => "must be true or false",
        Kind::String => "must be a string",
        Kind::Bytes => "must be a string in base64",
        Kind::Enum(_) => "must be one of the enum's names, or a number",
        Kind::Float | Kind::Double => "must be a number within the field's range, NaN, Infinity or -Infinity",
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "must be an integer of 32 bits",
        Kind::Uint32 | Kind::Fixed32 => "must be an integer of 32 bits, not negative",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "must be an integer of 64 bits",
        Kind::Uint64 | Kind::Fixed64 => "must be an integer of 64 bits, not negative",
        Kind::Message(_) | Kind::Group(_) => "must be an object",
    })
}
