//! JSON to protobuf and back, by `google.api.http`.
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

mod civil;
mod enumeration;
mod json;
mod known;
mod map;
mod members;
mod number;
mod order;
mod parameter;
mod path;
mod plan;
mod raw;
mod request;
mod response;
mod routes;
mod scalar;
mod schema;
mod text;
mod violation;

pub use plan::{Limits, Plan, PlanError};
pub use routes::{Match, NoMatch, RouteError, Routes};
pub use schema::Schema;
pub use violation::{Malformed, Violation, ViolationKind};
