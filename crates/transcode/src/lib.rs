//! Transcoding: JSON to protobuf and back, by `google.api.http`.
//!
//! A [`Schema`] is compiled once from the descriptors of an upstream, a [`Plan`] once per method and binding. A request
//! is then read from its JSON text straight into wire bytes, an answer written from wire bytes straight into JSON text.
//!
//! Invariants:
//! - there is no tree of dynamic values in between, so what a request costs is bounded by its bytes;
//! - nothing is skipped silently: an unknown field or parameter, a duplicate key or a value out of range is a
//!   [`Violation`] that names it;
//! - path variables, body and query parameters are written one after the other, because concatenated encodings merge
//!   (<https://protobuf.dev/programming-guides/encoding/#last-one-wins>).

// Compiled once.
mod options;
mod plan;
mod routes;
mod schema;

// A request's way in.
mod members;
mod parameter;
mod path;
mod request;
mod scalar;

// An answer's way out.
mod map;
mod order;
mod response;
mod room;

// Both ways.
mod civil;
mod enumeration;
mod json;
mod known;
mod member_name;
mod number;
mod raw;
mod text;
mod violation;

pub use options::{Limits, Output};
pub use plan::{Plan, PlanError};
pub use routes::{Match, NoMatch, RouteError, Routes};
pub use schema::{Known, Schema};
pub use violation::{Malformed, Violation, ViolationKind};
