//! Outbox (transactional outbox): writes that bypass Accord. Triggers in a PostgreSQL database of others write into `accord_outbox`, in
//! the transaction that changes a row, what that makes invalid; the cache reads it and appends it to its invalidation log.
//!
//! Invariants:
//! - What a transaction changes is invalidated once it has committed, and nothing where it was rolled back.
//! - A row is read whatever the order in which transactions commit: the cursor passes a number only when the transaction that took
//!   it has ended (`cursor`).
//! - The cursor is in the database: it outlives readers. What is read twice is invalidated twice, which is harmless.
//! - What can't be read row by row is invalidated as a whole.
//! - Nothing waits for a reader: the table has a bound, beyond which its writers leave nothing but numbers.

mod config;
mod template;
mod change;
mod cursor;
mod install;
pub(crate) mod database;
mod metrics;
mod reader;

pub(crate) use config::contradictions;
pub use config::{KeyConfig, OutboxConfig, TableConfig};
pub use install::{Installation, install_statements, uninstall_statements};
pub(crate) use reader::release;
pub use reader::{Reader, follow, readers};
