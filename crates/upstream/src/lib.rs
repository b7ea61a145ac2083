//! The one way to an endpoint: discovery, choice, ejection, connections, one call with its retries.
//!
//! [`Upstream`] is a service with its endpoints. A [`Call`] describes what goes out in plain values; [`Upstream::unary`] makes
//! it with its retries, [`Upstream::stream`] passes bytes through, and [`Client`] puts an upstream under generated stubs.
//!
//! Invariants:
//! - A call is sent again without being asked only where the upstream certainly never saw it, and once.
//! - Everything that waits ends with the call's deadline, or with a bound of its own.
//! - An answer that breaks a bound fails alone: no other call of its connection is hurt.
//! - Nothing here knows of contracts, protocols of callers, or caches.

#![warn(unreachable_pub)]

pub mod config;
mod discovery;
mod url;

mod balance;
mod bulkhead;
mod endpoint;
mod liveness;
mod load;
mod metrics;
mod probe;

mod connection;
mod pool;

mod body;
mod exchange;
mod payload;
mod unreachable;

mod attempt;
mod budget;
mod call;
mod failure;
mod retry;

mod client;
pub mod grpc;
pub mod metadata;
mod status;

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
