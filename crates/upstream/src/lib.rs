//! The one way to an endpoint: discovery, load balancing, ejection, connections, deadlines, retries and hedging.
//!
//! [`Upstream`] is a service with its endpoints. A [`Call`] describes what goes out in plain values; [`Upstream::unary`] makes
//! it with its retries, [`Upstream::stream`] passes bytes through, and [`Client`] puts an upstream under generated stubs.
//!
//! Invariants:
//! - Transparent retry (gRFC A6): a call that no contract lets retry is sent again only where the upstream certainly never saw
//!   it, once after a refused stream and up to three times after a connection that could not be made. Our own calls that may be
//!   made twice are sent again as well where a connection broke ([`repeated`]).
//! - Everything that waits ends with the call's deadline, or with a bound of its own.
//! - An answer that breaks a bound fails alone: no other call of its connection is hurt.
//! - Nothing here knows of contracts, protocols of callers, or caches.

pub mod config;
mod url;

// The way of a call.
mod call;
mod client;
mod repeated;
mod owners;
mod adaptive_limit;
mod bulkhead;
mod retry;
mod budget;
mod attempt;
mod balance;
mod endpoints;
mod owner;
mod hot_keys;
mod zone;
mod load;
mod discovery;
mod endpoint;
mod record;
mod outlier;
mod health_check;
mod pool;
mod connection;
mod connect_error;
mod connect_warnings;
mod exchange;
mod payload;
mod transport_error;
mod body;
mod status;
mod failure;

// What its steps stand on.
pub mod grpc;
mod health_status;
pub mod metadata;
pub mod declared_metrics;
mod metrics;

pub use adaptive_limit::TimedMethod;
pub use attempt::make_room;
pub use balance::{Upstream, Version};
pub use body::ResponseBody;
pub use budget::Budget;
pub use call::{Answer, Call, Caller, Outcome, PREVIOUS_ATTEMPTS, PUSHBACK, Retries};
pub use client::{Client, StubBody};
pub use config::{
    AdaptiveConfig, ConfigError, DiscoveryConfig, DnsConfig, KubernetesConfig, OutlierConfig, UpstreamConfig,
    VersionConfig,
};
pub use connect_error::{ConnectCause, ConnectError};
pub use connection::STREAM_WINDOW;
pub use endpoint::Endpoint;
pub use endpoints::Endpoints;
pub use failure::Failure;
pub use health_status::HealthStatus;
pub use owners::Owners;
pub use repeated::repeated;
pub use transport_error::TransportError;
