//! What can be chosen: bounds on requests, and the form of answers.

/// Bounds on what a request may contain, beyond its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Nesting of JSON objects and arrays in a request, and of messages in an answer. Default 64.
    pub depth: usize,
    /// Elements of arrays and members of objects in a request, at all levels together. Default 1,000,000.
    pub elements: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 64, elements: 1_000_000 }
    }
}

/// How answers are written where `ProtoJSON` leaves it to options. The default is its canonical form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Output {
    /// Whether fields without presence are written at their default values: scalars, lists and maps.
    pub defaults: bool,
    /// Whether members have the names of the proto file in place of lowerCamelCase.
    pub proto_names: bool,
    /// Whether enums are numbers in place of names.
    pub enum_numbers: bool,
}
