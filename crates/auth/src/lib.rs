//! The auth service: credentials in, tokens out; decisions; revocations with a bound.
//!
//! Invariants:
//! - It never fails open: every error ends in a denial, and only one line in the access service allows anything.
//! - Nothing is answered from memory alone: the store's revision is read first.
//! - What was acknowledged is durable, and what is privileged is recorded in the same transaction.
//! - Private keys, passwords, client secrets and refresh tokens are not in the store in any usable form.

pub mod auth;
pub mod cli;
pub mod config;
pub mod denial;
pub mod figures;
pub mod ledger;
pub mod login;
pub mod manage;
pub mod message;
pub mod mint;
pub mod password;
pub mod policy;
pub mod refresh;
pub mod rotate;
pub mod serve;
pub mod service;
pub mod setup;
pub mod store;
pub mod throttle;
pub mod vault;
