//! The gateway: the one public entry to gRPC services, with the contract of each method enforced.
//!
//! [`call::travel`] is the whole way of a request in one function; it calls the steps in the order in which a request
//! meets them.
//!
//! Invariants: this is the only crate that knows HTTP/1.1. A gRPC body that nobody has to look at passes through as
//! bytes. Nothing goes inward without a [`authorize::Permit`].

pub mod cli;
pub mod config;
pub mod serve;
pub mod declared_metrics;

pub use protocol::parsers;

mod listener_service;

mod console;

mod call;

// The steps, in the order in which a request meets them.
mod admit;
mod protocol;
mod method;
mod table;
mod authenticate;
mod concurrency_limit;
mod memory;
mod resource;
mod authorize;
mod rate_limit;
mod message;
mod near;
mod read_through;
mod idempotency;
mod invalidate;
mod upstream;
mod stream_limits;
mod revocation;

// What the steps stand on.
mod beside_workers;
mod cache_headers;
mod cache_reads;
mod call_samples;
mod consistency_token;
mod cors;
mod etag;
mod explain;
mod explain_call;
mod fault;
mod forgery_limit;
mod internal_call;
mod inspect;
mod live;
mod metadata;
mod reflect;
