//! Why bytes are not a message of their type.

use std::{error::Error, fmt};

/// Bytes that are not a message of their type. One byte in size, because the reader returns it for every field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A value is longer than what is left.
    CutShort,
    /// A varint has no last byte.
    EndlessVarint,
    /// A varint is above 64 bits.
    LargeVarint,
    /// A field's tag is above 32 bits.
    LargeTag,
    /// A field has number 0.
    NumberZero,
    /// A wire type that does not exist.
    UnknownWireType,
    /// A group ends that did not start.
    UnopenedGroup,
    /// A group ends with the number of another.
    MismatchedGroup,
    /// Messages or groups within each other beyond [`MAX_DEPTH`](crate::MAX_DEPTH).
    TooDeep,
    /// More bytes than the reader counts.
    TooLarge,
    /// A field is not written as its declared type is.
    WrongType,
    /// A string is not UTF-8.
    NotUtf8,
}

impl Malformed {
    /// What is wrong, as the end of a sentence.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::CutShort => "a field is cut short",
            Self::EndlessVarint => "a varint does not end",
            Self::LargeVarint => "a varint is too large",
            Self::LargeTag => "a tag is too large",
            Self::NumberZero => "a field has number 0",
            Self::UnknownWireType => "a wire type is unknown",
            Self::UnopenedGroup => "a group ends that did not start",
            Self::MismatchedGroup => "a group ends with another's number",
            Self::TooDeep => "it is nested too deeply",
            Self::TooLarge => "it is too large",
            Self::WrongType => "a field does not have its declared type",
            Self::NotUtf8 => "a string is not UTF-8",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the message is malformed: {}", self.reason())
    }
}

impl Error for Malformed {}
