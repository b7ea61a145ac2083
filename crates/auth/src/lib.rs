//! The auth service: credentials in, tokens out; decisions; revocations with a bound.
//!
//! Invariants:
//! - It never fails open: every error is a denial, and a decision is built as one that a single line of
//!   `domain/access.rs` turns.
//! - Nothing is answered from memory alone: the store's revision is read first.
//! - What was acknowledged is durable, and what is privileged is recorded in the same transaction.
//! - Private keys, passwords, client secrets and refresh tokens are not in the store in any usable form.

// From a command line to a running server.
pub mod cli;
pub mod secret_file;
pub mod config;
mod setup;
pub mod serve;
pub mod maintenance;
mod client_secrets;

// What is served: a face for each protocol, the domain behind them, and what lasts.
mod service;
mod oauth;
pub mod ext_authz;
pub mod domain;
pub mod store;
pub mod declared_metrics;
mod metrics;
mod https;
