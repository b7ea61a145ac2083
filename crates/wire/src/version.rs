//! Where an answer tells its version: a number that grows with each change.

use crate::malformed::Malformed;
use crate::path::FieldPath;
use crate::scalar::{Scalar, ScalarType};

const SECOND: u64 = 1_000_000_000;

/// The way to the version in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionPath {
    /// An integer.
    Number(FieldPath),
    /// A `google.protobuf.Timestamp`, by its fields.
    Time {
        /// Seconds since 1970.
        seconds: FieldPath,
        /// Nanoseconds of the second.
        nanos: FieldPath,
    },
}

impl VersionPath {
    /// The version of an answer, as a number: that of the field, or the nanoseconds since 1970. What is absent or negative is the
    /// oldest of all, 0.
    pub fn read(&self, answer: &[u8]) -> Result<u64, Malformed> {
        match self {
            Self::Number(path) => number(path, answer),
            Self::Time { seconds, nanos } => {
                let seconds = number(seconds, answer)?.saturating_mul(SECOND);
                Ok(seconds.saturating_add(number(nanos, answer)?))
            }
        }
    }

    /// The fields that it reads.
    pub fn fields(&self) -> Vec<&FieldPath> {
        match self {
            Self::Number(path) => vec![path],
            Self::Time { seconds, nanos } => vec![seconds, nanos],
        }
    }

    /// The same of its fields; none where they can't be one.
    pub fn of_fields(fields: Vec<FieldPath>) -> Option<Self> {
        let mut fields = fields.into_iter();
        let (first, second, third) = (fields.next()?, fields.next(), fields.next());
        match second {
            _ if third.is_some() || !is_integer(first.scalar) => None,
            None => Some(Self::Number(first)),
            Some(nanos) => is_integer(nanos.scalar).then_some(Self::Time { seconds: first, nanos }),
        }
    }
}

/// Whether numbers of a type have an order that everybody means. Those of an enum are names.
pub fn is_integer(scalar: ScalarType) -> bool {
    let is_named = scalar == ScalarType::Enum;
    !is_named && matches!(scalar.default_value(), Scalar::Signed(_) | Scalar::Unsigned(_))
}

fn number(path: &FieldPath, answer: &[u8]) -> Result<u64, Malformed> {
    Ok(match path.scalar(answer)? {
        Some(Scalar::Unsigned(number)) => number,
        Some(Scalar::Signed(number)) => u64::try_from(number).unwrap_or_default(),
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Step;
    use crate::value::WireType;
    use crate::writer::{put_bytes, put_tag, put_varint};

    fn step(number: u32) -> Step {
        Step { number, oneof_siblings: Vec::new() }
    }

    fn path(parents: &[u32], leaf: u32, scalar: ScalarType) -> FieldPath {
        let parents = parents.iter().map(|number| step(*number)).collect();
        FieldPath { parents, leaf: step(leaf), scalar, has_presence: false, default: None }
    }

    fn varint(field: u32, value: u64) -> Vec<u8> {
        let mut message = Vec::new();
        put_tag(&mut message, field, WireType::Varint);
        put_varint(&mut message, value);
        message
    }

    #[test]
    fn number_is_read_in_its_message_and_0_where_it_is_absent_or_negative() {
        let version = VersionPath::Number(path(&[1], 7, ScalarType::Int64));
        let within = |inner: &[u8]| {
            let mut answer = Vec::new();
            put_bytes(&mut answer, 1, inner);
            version.read(&answer).unwrap()
        };
        assert_eq!(within(&varint(7, 42)), 42);
        assert_eq!(within(&varint(7, u64::MAX)), 0, "-1");
        assert_eq!(within(b""), 0);
        assert_eq!(version.read(b"").unwrap(), 0);
    }

    #[test]
    fn time_is_compared_to_the_nanosecond() {
        let [seconds, nanos] =
            [(1, ScalarType::Int64), (2, ScalarType::Int32)].map(|(of, scalar)| path(&[8], of, scalar));
        let version = VersionPath::Time { seconds, nanos };
        let at = |seconds, nanos| {
            let mut answer = Vec::new();
            put_bytes(&mut answer, 8, &[varint(1, seconds), varint(2, nanos)].concat());
            version.read(&answer).unwrap()
        };
        assert_eq!(at(1_764_000_000, 5), 1_764_000_000_000_000_005);
        assert!(at(1_764_000_000, 999_999_999) < at(1_764_000_001, 0));
        assert_eq!(at(u64::MAX >> 1, 0), u64::MAX, "the end of time");
    }

    #[test]
    fn fields_without_an_order_are_no_version() {
        let of = |scalars: &[ScalarType]| {
            VersionPath::of_fields(scalars.iter().map(|scalar| path(&[], 1, *scalar)).collect())
        };
        for scalar in [ScalarType::Int32, ScalarType::Uint64, ScalarType::Sfixed64, ScalarType::Sint32] {
            assert!(of(&[scalar]).is_some(), "{scalar:?}");
        }
        for scalar in [ScalarType::String, ScalarType::Bytes, ScalarType::Double, ScalarType::Bool, ScalarType::Enum] {
            assert!(of(&[scalar]).is_none(), "{scalar:?}");
            assert!(of(&[ScalarType::Int64, scalar]).is_none(), "{scalar:?}");
        }
        assert!(of(&[]).is_none());
        assert!(of(&[ScalarType::Int64; 3]).is_none());
    }
}
