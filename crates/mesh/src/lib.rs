//! Membership of a binary in the mesh: it logs in, follows revocations, verifies tokens and asks auth for decisions.
//!
//! What a token is and how it is checked stands in `accord-token`; this crate keeps what the check needs fresh.
//!
//! Invariant: a token is never accepted on a snapshot older than the bound; [`MeshClient`] then refuses with `UNAVAILABLE`.

pub mod admit;
pub mod client;
pub mod config;
mod decide;
mod login;
mod readiness;
pub mod refusal;
mod snapshot;
mod watch;

pub use client::{JoinError, MeshClient};
pub use config::MeshConfig;
pub use decide::{Decision, Question};
