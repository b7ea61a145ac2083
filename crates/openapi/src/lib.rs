//! One OpenAPI 3.1 document of all that a contract lets callers do with JSON.
//!
//! An operation for each HTTP binding, and for each method that has none by `POST /pkg.Service/Method`; a schema, in JSON Schema
//! 2020-12, for each message that one of them reaches, in the form that the crate `transcode` reads and writes.
//!
//! Invariants:
//! - the same contract makes the same document, to the byte;
//! - what no operation reaches is not looked at, so that a large set of descriptors costs what of it is called;
//! - it holds nothing that a caller may not know: no upstream, no tag, no key of a cache.

mod document;

// What an operation is made of, in the order in which it says it.
mod operation;
mod route;
mod place;
mod parameters;
mod body;
mod answers;
mod policy;

// What those stand on.
mod example;
mod schemas;
mod component_names;
mod leaf;
mod members;
mod comments;
mod object;

pub use document::{Surroundings, document};
