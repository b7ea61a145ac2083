//! Protobuf's wire format (<https://protobuf.dev/programming-guides/encoding/>), read and written one field after
//! another, and the tags that a template makes of a request and its answer.
//!
//! Invariants: nothing here knows descriptors; whoever does compiles what it needs into [`FieldPath`]s and
//! [`Template`]s. Reading allocates nothing, and no bytes make it panic or recurse without a bound.

#![warn(unreachable_pub)]

// Tags, and the hash of their names.
mod path;
mod template;
mod version;
mod hash;

// Fields.
mod malformed;
mod reader;
mod scalar;
mod value;
mod writer;

pub use hash::{hash, hash_parts, mix};
pub use malformed::Malformed;
pub use path::{FieldPath, OneofSibling, Step};
pub use reader::{MAX_DEPTH, Occurrence, Occurrences, occurrences, read_value};
pub use scalar::{Scalar, ScalarType, low, zigzag};
pub use template::{Part, Template, escape};
pub use value::{Value, WireType};
pub use version::{VersionPath, is_integer};
pub use writer::{close_length, open_length, put_bytes, put_field, put_tag, put_value, put_varint};
