//! Accord's cache: answers of declared reads, kept while their contracts allow. Everything in it is derived; losing it
//! costs time and no data. The records of idempotency keys are the exception, and live in a database.
//!
//! Invariants:
//! - Once an invalidation is acknowledged, no read that starts later sees an answer loaded before it.
//! - No answer crosses tenants or, unless its contract shares it, principals.
//! - The cache has no rights of its own: a load runs under the passport of the read that started it.
//! - No tenant sees or invalidates what another put into a namespace, and nobody without the namespace's permission does.
//! - One process at a time serves from a data directory: it holds a lock there for its life.
//! - Of several behind one name, which share an invalidation log, none answers from memory for longer than it has verified.
//! - Everything is bounded: bytes, namespaces, loads, waiters, remembered plans, tags and senders, connections.
//! - It calls the upstreams that its configuration holds, and no address that a caller says.

// From a configuration to a running server.
pub mod cli;
pub mod config;
mod data_lock;
pub mod serve;
pub mod declared_metrics;

// The way of a request.
mod service;
mod malformed;
pub mod namespaces;
pub mod namespace_origin;
pub mod passport;
pub mod consistency_tokens;
mod forced_loads;
mod plans;
pub mod plan;
pub mod origin;
pub mod upstreams;
mod answer_metadata;
mod load_times;
mod load_span;
mod origin_failure;
mod checker;
pub mod records;

// Where replicas of the cache meet.
pub mod log;
pub mod second_level;

// What others change in their databases.
pub mod outbox;
