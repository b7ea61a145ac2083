//! A path to one field of a message, read from the wire without decoding the rest.

use std::borrow::Cow;

use crate::malformed::Malformed;
use crate::reader::{MAX_DEPTH, occurrences};
use crate::scalar::{Scalar, ScalarType};
use crate::value::{Value, WireType};

/// The way to a singular scalar field, with all that its value depends on: whoever holds it needs no descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {
    /// The messages on the way, from the root.
    pub parents: Vec<Step>,
    /// The field itself.
    pub leaf: Step,
    /// Its type.
    pub scalar: ScalarType,
    /// Whether its absence differs from its default.
    pub has_presence: bool,
    /// The text of the default that it declares itself (proto2), where that is not the one of its type.
    pub default: Option<String>,
}

/// A field on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub number: u32,
    /// The other members of its oneof: each, when it comes later, takes the field away.
    pub oneof_siblings: Vec<OneofSibling>,
}

/// Another member of a oneof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneofSibling {
    /// Its number.
    pub number: u32,
    /// How its value is written.
    pub wire_type: WireType,
}

/// What a scan has seen so far.
#[derive(Default)]
struct Found<'a> {
    value: Option<Value<'a>>,
    /// How many messages on the way are present.
    reached: usize,
}

impl FieldPath {
    /// The value as text. None where the field, or a message on the way to it, is absent; a field without presence reads
    /// as its default.
    pub fn read<'a>(&'a self, message: &'a [u8]) -> Result<Option<Cow<'a, str>>, Malformed> {
        let found = self.scan(message)?;
        match found.value {
            Some(value) => Ok(Some(self.scalar.read(value)?.text())),
            None if found.reached < self.parents.len() || self.has_presence => Ok(None),
            None => Ok(Some(self.default_text())),
        }
    }

    /// The value as text, with its default where it is absent.
    pub fn text<'a>(&'a self, message: &'a [u8]) -> Result<Cow<'a, str>, Malformed> {
        match self.scan(message)?.value {
            Some(value) => Ok(self.scalar.read(value)?.text()),
            None => Ok(self.default_text()),
        }
    }

    /// The value itself; none where it is absent.
    pub fn scalar<'a>(&self, message: &'a [u8]) -> Result<Option<Scalar<'a>>, Malformed> {
        self.scan(message)?.value.map(|value| self.scalar.read(value)).transpose()
    }

    fn default_text(&self) -> Cow<'_, str> {
        self.default.as_deref().map_or_else(|| self.scalar.default_value().text(), Cow::Borrowed)
    }

    fn scan<'a>(&self, message: &'a [u8]) -> Result<Found<'a>, Malformed> {
        // Paths may come from another process, and each parent is a recursion.
        if self.parents.len() >= MAX_DEPTH {
            return Err(Malformed::TooDeep);
        }
        let mut found = Found::default();
        self.find(0, message, &mut found)?;
        Ok(found)
    }

    /// The last occurrence wins; the occurrences of a message are merged, as every decoder does.
    fn find<'a>(&self, depth: usize, message: &'a [u8], found: &mut Found<'a>) -> Result<(), Malformed> {
        let parent = self.parents.get(depth);
        let (step, wire_type) = parent.map_or((&self.leaf, self.scalar.wire_type()), |step| (step, WireType::Bytes));
        for occurrence in occurrences(message) {
            let occurrence = occurrence?;
            if occurrence.number == step.number {
                match occurrence.value {
                    // Some decoders skip a field of an unexpected wire type and some refuse it: a value on which they
                    // differ is none.
                    value if value.wire_type() != wire_type => return Err(Malformed::WrongType),
                    Value::Bytes(inner) if parent.is_some() => {
                        found.reached = found.reached.max(depth + 1);
                        self.find(depth + 1, inner, found)?;
                    }
                    value => found.value = Some(value),
                }
            } else if let Some(sibling) = step.oneof_siblings.iter().find(|sibling| sibling.number == occurrence.number)
            {
                if sibling.wire_type != occurrence.value.wire_type() {
                    return Err(Malformed::WrongType);
                }
                *found = Found { value: None, reached: found.reached.min(depth) };
            }
        }
        Ok(())
    }
}
