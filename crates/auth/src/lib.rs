//! The auth service: credentials in, tokens out; decisions; revocations with a bound.
//!
//! Invariants:
//! - It never fails open: every error ends in a denial, and only one line in `domain/access.rs` allows anything.
//! - Nothing is answered from memory alone: the store's revision is read first.
//! - What was acknowledged is durable, and what is privileged is recorded in the same transaction.
//! - Private keys, passwords, client secrets and refresh tokens are not in the store in any usable form.

// From a command line to a running server.
pub mod cli;
pub mod config;
pub mod maintenance;
pub mod secret_file;
pub mod serve;
mod setup;

// What it serves: gRPC, the domain behind it, and what lasts.
mod service;

pub mod domain;

mod metrics;
pub mod store;
