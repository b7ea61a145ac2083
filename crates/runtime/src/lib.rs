//! What every Accord binary would be wrong without: configuration, listening, deadlines, telemetry, health and shutdown.
//!
//! Invariants:
//! - Nothing here names a binary or knows of contracts: what they declare of the methods that are served is handed in.
//! - Everything that waits has a bound: handshakes, headers, calls, connections, drains, exports.
//! - No secret is ever part of an error, a log line or a metric.

pub mod admin;
mod answer;
pub mod backoff;
pub mod config;
mod connection;
pub mod deadline;
mod descriptors;
pub mod enforce;
pub mod fault;
pub mod health;
mod listen;
pub mod observe;
pub mod panic;
pub mod probe;
mod prompt;
pub mod reload;
pub mod request;
pub mod run;
pub mod server;
pub mod shutdown;
pub mod surface;
pub mod telemetry;
pub mod tls;
pub mod trace;
