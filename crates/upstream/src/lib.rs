//! The one way to an endpoint: discovery, load balancing, ejection, connections, deadlines, retries and hedging.
//!
//! [`Upstream`] is a service with its endpoints. A [`Call`] describes what goes out in plain values; [`Upstream::unary`] makes
//! it with its retries, [`Upstream::stream`] passes bytes through, and [`Client`] puts an upstream under generated stubs.
//!
//! Invariants:
//! - A call is sent again without being asked only where the upstream certainly never saw it, and once.
//! - Everything that waits ends with the call's deadline, or with a bound of its own.
//! - An answer that breaks a bound fails alone: no other call of its connection is hurt.
//! - Nothing here knows of contracts, protocols of callers, or caches.

pub mod config;
mod url;

// The way of a call.
mod call;
mod client;
mod bulkhead;
mod retry;
mod budget;
mod attempt;
mod balance;
mod load;
mod discovery;
mod endpoint;
mod probe;
mod pool;
mod connection;
mod exchange;
mod payload;
mod unreachable;
mod body;
mod status;
mod failure;

// What its steps stand on.
pub mod grpc;
mod liveness;
pub mod metadata;
mod metrics;

pub use balance::Upstream;
pub use body::ResponseBody;
pub use budget::Budget;
pub use call::{Answer, Call, Outcome, PREVIOUS_ATTEMPTS, Retries};
pub use client::{Client, StubBody};
pub use config::{ConfigError, UpstreamConfig};
pub use endpoint::Endpoint;
pub use failure::Failure;
pub use liveness::Liveness;
pub use unreachable::Unreachable;
