//! What every Accord binary shares: configuration, listening, deadlines, telemetry, health and shutdown.
//!
//! Invariants:
//! - Nothing here names a binary or knows of contracts: what they declare of the methods that are served is handed in.
//! - Everything that waits has a bound: handshakes, headers, calls, connections, drains, exports.
//! - No secret is ever part of an error, a log line or a metric.

// A process, from its command line to its end.
pub mod cli;
pub mod config;
pub mod exit_status;
pub mod run;
pub mod output;
pub mod progress;
pub mod file;
pub mod declared_metrics;
pub mod telemetry;
pub mod rate_limited_log;
pub mod reload;
pub mod backoff;
pub mod shutdown;

// The way of a connection.
mod address;
mod listen;
pub mod workers;
pub mod server;
pub mod tls;
mod workload_api;
pub mod client_identity;
mod client_names;
mod proxy_protocol;
mod lingering_close;
mod preface;
mod frames;
mod control_frames;
pub mod upgrade;
mod connection;
mod http1;
mod http2;
pub mod write_deadline;
pub mod criticality;
pub mod prehashed;
pub mod fair_share;
pub mod holding_body;
pub mod drained_body;

// The way of a call.
pub mod grpc_server;
mod descriptors;
pub mod observe;
pub mod call_metrics;
pub mod call_record;
pub mod current_call;
mod access_log;
mod request_id;
mod trace_context;
pub mod trace;
pub mod request;
pub mod enforce;
pub mod deadline;
pub mod panic;
mod grpc_only;
pub mod fault;
pub mod violations;
mod plain;

// What operators ask.
pub mod admin;
mod process_metrics;
pub mod health;
pub mod inspection;
pub mod probe;
