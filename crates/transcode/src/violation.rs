//! What can be wrong with a request or an answer.

use std::fmt;

/// How much of a name is shown, in characters.
const LONGEST_NAME: usize = 128;

/// Why a request cannot be transcoded: the caller's mistake, told so that the caller can mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where, such as `product.prices[2].minorUnits`; empty for the request as a whole.
    pub field: String,
    /// What is wrong with it. Never repeats the value, which may be personal.
    pub problem: String,
    /// The sort of mistake.
    pub kind: ViolationKind,
}

/// The sort of a [`Violation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViolationKind {
    /// Not JSON, or beyond a limit.
    Malformed,
    /// A field or parameter that the request message does not have, or that may not be given there.
    UnknownField,
    /// A value that its field cannot hold.
    InvalidValue,
}

impl Violation {
    pub(crate) fn malformed(problem: impl Into<String>) -> Self {
        Self::new(ViolationKind::Malformed, problem)
    }

    pub(crate) fn invalid(problem: impl Into<String>) -> Self {
        Self::new(ViolationKind::InvalidValue, problem)
    }

    pub(crate) fn unknown(name: &str, problem: impl Into<String>) -> Self {
        Self::new(ViolationKind::UnknownField, problem).within(name)
    }

    fn new(kind: ViolationKind, problem: impl Into<String>) -> Self {
        Self { field: String::new(), problem: problem.into(), kind }
    }

    /// The path is put together while the error travels outwards, so that a good request pays nothing for it. `name` may
    /// be the caller's, and so of any length; its beginning is enough to find it again.
    #[must_use]
    pub(crate) fn within(mut self, name: &str) -> Self {
        let name = name.char_indices().nth(LONGEST_NAME).map_or(name, |(end, _)| &name[..end]);
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{name}{dot}{}", self.field);
        self
    }

    #[must_use]
    pub(crate) fn at(self, index: usize) -> Self {
        self.within(&format!("[{index}]"))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            formatter.write_str(&self.problem)
        } else {
            write!(formatter, "{}: {}", self.field, self.problem)
        }
    }
}

impl std::error::Error for Violation {}

/// Why an answer cannot be transcoded: the upstream's mistake, or a contract that differs from what it serves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes are not a protobuf message.
    #[error("the answer is not a protobuf message: {0}")]
    Wire(&'static str),
    /// A field has a wire type that its declaration does not allow.
    #[error("field {field} of the answer does not have the declared type")]
    Type {
        /// The field's JSON name.
        field: String,
    },
    /// A value exists that JSON has no form for.
    #[error("the answer has no JSON form: {0}")]
    Value(&'static str),
    /// A `google.protobuf.Any` holds a message that the contract does not know.
    #[error("the answer holds an Any of a type that the contract does not know")]
    UnknownType,
    /// The answer is nested more deeply than the limit.
    #[error("the answer is nested too deeply")]
    Depth,
    /// Its JSON takes more memory than there is for it.
    #[error("the answer is longer in JSON than it may be")]
    TooLong,
}

impl From<accord_wire::Malformed> for Malformed {
    fn from(error: accord_wire::Malformed) -> Self {
        match error {
            accord_wire::Malformed::TooDeep => Self::Depth,
            error => Self::Wire(error.reason()),
        }
    }
}
