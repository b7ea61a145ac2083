//! A value as it is written, before anybody knows its type.

/// How a value is written: the low three bits of a field's tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireType {
    /// A variable-length integer.
    Varint = 0,
    /// Eight bytes, little-endian.
    Fixed64 = 1,
    /// A length and that many bytes.
    Bytes = 2,
    /// The start of a group.
    StartGroup = 3,
    /// The end of a group.
    EndGroup = 4,
    /// Four bytes, little-endian.
    Fixed32 = 5,
}

/// The value of one field occurrence, as far as it can be read without a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A variable-length integer.
    Varint(u64),
    /// Eight bytes, little-endian.
    Fixed64(u64),
    /// Four bytes, little-endian.
    Fixed32(u32),
    /// A string, bytes, message or packed list.
    Bytes(&'a [u8]),
    /// What stands between the start and the end of a group.
    Group(&'a [u8]),
}

impl Value<'_> {
    /// How the value is written.
    #[inline]
    pub fn wire_type(&self) -> WireType {
        match self {
            Self::Varint(_) => WireType::Varint,
            Self::Fixed64(_) => WireType::Fixed64,
            Self::Fixed32(_) => WireType::Fixed32,
            Self::Bytes(_) => WireType::Bytes,
            Self::Group(_) => WireType::StartGroup,
        }
    }
}
