//! Scalars: how each type is written, and its one text.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::malformed::Malformed;
use crate::value::{Value, WireType};

/// The type of a scalar field, with its number in `google.protobuf.FieldDescriptorProto.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the protobuf type of its name")]
pub enum ScalarType {
    Double = 1,
    Float = 2,
    Int64 = 3,
    Uint64 = 4,
    Int32 = 5,
    Fixed64 = 6,
    Fixed32 = 7,
    Bool = 8,
    String = 9,
    Bytes = 12,
    Uint32 = 13,
    /// Open: a number without a name is a value like any other.
    Enum = 14,
    Sfixed32 = 15,
    Sfixed64 = 16,
    Sint32 = 17,
    Sint64 = 18,
}

/// The value of a scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// A truth value.
    Bool(bool),
    /// A signed integer of any width, or an enum.
    Signed(i64),
    /// An unsigned integer of any width.
    Unsigned(u64),
    /// A number of 32 bits.
    Float(f32),
    /// A number of 64 bits.
    Double(f64),
    /// Text.
    String(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl ScalarType {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Double,
        Self::Float,
        Self::Int64,
        Self::Uint64,
        Self::Int32,
        Self::Fixed64,
        Self::Fixed32,
        Self::Bool,
        Self::String,
        Self::Bytes,
        Self::Uint32,
        Self::Enum,
        Self::Sfixed32,
        Self::Sfixed64,
        Self::Sint32,
        Self::Sint64,
    ];

    /// The type with a number in `google.protobuf.FieldDescriptorProto.Type`; none for messages and groups.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|scalar| scalar.number() == number)
    }

    /// Its number in `google.protobuf.FieldDescriptorProto.Type`.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// How its values are written one by one.
    pub fn wire_type(self) -> WireType {
        match self {
            Self::Double | Self::Fixed64 | Self::Sfixed64 => WireType::Fixed64,
            Self::Float | Self::Fixed32 | Self::Sfixed32 => WireType::Fixed32,
            Self::String | Self::Bytes => WireType::Bytes,
            Self::Int64
            | Self::Uint64
            | Self::Int32
            | Self::Bool
            | Self::Uint32
            | Self::Enum
            | Self::Sint32
            | Self::Sint64 => WireType::Varint,
        }
    }

    /// What a written value means.
    pub fn read(self, value: Value<'_>) -> Result<Scalar<'_>, Malformed> {
        Ok(match (self, value) {
            (Self::Bool, Value::Varint(bits)) => Scalar::Bool(bits != 0),
            (Self::Int32 | Self::Enum, Value::Varint(bits)) => Scalar::Signed(low(bits).cast_signed().into()),
            (Self::Int64, Value::Varint(bits)) | (Self::Sfixed64, Value::Fixed64(bits)) => {
                Scalar::Signed(bits.cast_signed())
            }
            (Self::Sint32, Value::Varint(bits)) => Scalar::Signed(zigzag(low(bits).into())),
            (Self::Sint64, Value::Varint(bits)) => Scalar::Signed(zigzag(bits)),
            (Self::Sfixed32, Value::Fixed32(bits)) => Scalar::Signed(bits.cast_signed().into()),
            (Self::Uint32, Value::Varint(bits)) => Scalar::Unsigned(low(bits).into()),
            (Self::Uint64, Value::Varint(bits)) | (Self::Fixed64, Value::Fixed64(bits)) => Scalar::Unsigned(bits),
            (Self::Fixed32, Value::Fixed32(bits)) => Scalar::Unsigned(bits.into()),
            (Self::Float, Value::Fixed32(bits)) => Scalar::Float(f32::from_bits(bits)),
            (Self::Double, Value::Fixed64(bits)) => Scalar::Double(f64::from_bits(bits)),
            (Self::String, Value::Bytes(bytes)) => {
                Scalar::String(std::str::from_utf8(bytes).map_err(|_| Malformed::NotUtf8)?)
            }
            (Self::Bytes, Value::Bytes(bytes)) => Scalar::Bytes(bytes),
            _ => return Err(Malformed::WrongType),
        })
    }

    /// The value of a field that is absent and declares no default of its own.
    pub fn default_value(self) -> Scalar<'static> {
        match self {
            Self::Bool => Scalar::Bool(false),
            Self::String => Scalar::String(""),
            Self::Bytes => Scalar::Bytes(b""),
            Self::Float => Scalar::Float(0.0),
            Self::Double => Scalar::Double(0.0),
            Self::Uint32 | Self::Uint64 | Self::Fixed32 | Self::Fixed64 => Scalar::Unsigned(0),
            Self::Int32 | Self::Int64 | Self::Sint32 | Self::Sint64 | Self::Sfixed32 | Self::Sfixed64 | Self::Enum => {
                Scalar::Signed(0)
            }
        }
    }
}

impl<'a> Scalar<'a> {
    /// Integers and enums in decimal, bytes in base64url, a text as it is.
    pub fn text(self) -> Cow<'a, str> {
        match self {
            Self::Bool(value) => if value { "true" } else { "false" }.into(),
            Self::Signed(value) => value.to_string().into(),
            Self::Unsigned(value) => value.to_string().into(),
            // The shortest digits that read back to the same number.
            Self::Float(value) => format!("{value:?}").into(),
            Self::Double(value) => format!("{value:?}").into(),
            Self::String(text) => text.into(),
            Self::Bytes(bytes) => URL_SAFE_NO_PAD.encode(bytes).into(),
        }
    }
}

/// A varint of a type of 32 bits keeps its low bits, as every decoder does.
#[inline]
pub fn low(bits: u64) -> u32 {
    let [a, b, c, d, ..] = bits.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The number that a varint of a `sint32` or `sint64` stands for.
#[inline]
pub fn zigzag(bits: u64) -> i64 {
    (bits >> 1).cast_signed() ^ -(bits & 1).cast_signed()
}
