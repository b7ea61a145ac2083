//! Values of keys within the answers of upstreams, by the numbers of their fields.

use accord_wire::{Malformed, Value, occurrences};
use bytes::Bytes;

/// The largest number of a field in protobuf.
pub(super) const MAX_FIELD: u64 = 536_870_911;

/// Most bytes of an answer beside its value, where the value is one of its fields.
pub(super) const BESIDE_VALUE: u64 = 65_536;

/// Why an answer can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// A value is larger than those of the namespace may be.
    TooLarge {
        /// Its bytes.
        size: usize,
        /// What it may have.
        most: usize,
    },
    /// It is not what the configuration says of it.
    Malformed(String),
}

impl From<Malformed> for Unusable {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(format!("it is no message: {malformed}"))
    }
}

/// The value in a message: a copy of its own, since the buffer that it came in is larger. It is the whole message, or one field,
/// empty where that is not set.
pub(super) fn value(message: &[u8], field: u32, most: usize) -> Result<Bytes, Unusable> {
    let value = if field == 0 { message } else { last(message, field)?.unwrap_or_default() };
    if value.len() > most {
        return Err(Unusable::TooLarge { size: value.len(), most });
    }
    Ok(Bytes::copy_from_slice(value))
}

/// What a field holds. Of several occurrences the last one counts, as in every reader of protobuf.
pub(super) fn last(message: &[u8], number: u32) -> Result<Option<&[u8]>, Unusable> {
    let mut found = None;
    for field in occurrences(message) {
        let field = field?;
        if field.number != number {
            continue;
        }
        let Value::Bytes(bytes) = field.value else {
            return Err(Unusable::Malformed(format!("its field {number} holds a number")));
        };
        found = Some(bytes);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_the_whole_answer_or_the_last_occurrence_of_its_field() {
        let answer = b"\x0a\x01a\x12\x01b\x0a\x01c";
        assert_eq!(value(&answer[..3], 0, 5).unwrap(), &answer[..3]);
        for (field, expected) in [(1, "c"), (2, "b"), (9, "")] {
            assert_eq!(value(answer, field, 5).unwrap(), expected);
        }
    }

    #[test]
    fn answer_without_a_usable_value_is_malformed() {
        for answer in [&b"\x08\x01"[..], b"\x0a\x05a"] {
            assert!(matches!(value(answer, 1, 5), Err(Unusable::Malformed(_))));
        }
    }

    #[test]
    fn value_larger_than_the_namespace_allows_is_refused() {
        assert_eq!(value(b"\x0a\x06abcdef", 1, 5), Err(Unusable::TooLarge { size: 6, most: 5 }));
        assert_eq!(value(b"\x0a\x05abcde", 1, 5).unwrap(), "abcde");
    }
}
