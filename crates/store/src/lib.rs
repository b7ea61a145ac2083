//! The SQL base of everything that must last: SQLite in a file, or PostgreSQL, through one text of SQL.
//!
//! A user of it names a [`Location`] and its [`Migrations`], and gets a [`Pool`]. Its own statements stay with it.
//!
//! Invariants:
//! - What was committed is durable, on both engines.
//! - Every wait has a bound: for a connection, for a lock, for an answer, for a migration.
//! - A connection that does not answer, or that believes itself in a transaction, never serves again.
//! - What is read from tables of others is read in transactions that can't write.
//! - Nothing is repeated unless the database said that nothing of it happened.
//! - An error names its file or its remedy, never the URL of a server: that may hold a password.

mod batches;
mod engine;
mod error;
mod location;
mod migration;
mod password;
mod pool;
mod reader;
mod retry;
mod shared_read;

pub use batches::{Batches, literal};
pub use error::{Error, log_failure};
pub use location::{Location, StoreUrl};
pub use migration::Migrations;
pub use pool::{Connections, Pool, Transaction};
pub use reader::{Column, Reader};
pub use retry::{ANSWER, retry, within};
pub use shared_read::SharedRead;
