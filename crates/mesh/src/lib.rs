//! Membership of a binary in the mesh: it logs in, follows revocations, verifies tokens, asks auth for decisions, and guards
//! its own services.
//!
//! What a token is and how it is checked stands in `accord-token`; this crate keeps what the check needs fresh.
//!
//! Invariant: a token is never accepted on a snapshot older than the bound; [`MeshClient`] then refuses with `UNAVAILABLE`.

#![warn(unreachable_pub)]

pub mod client;
pub mod config;

// What goes on in the background: the binary's own identity, and what it knows of revocations.
mod login;
mod readiness;
mod snapshot;
mod watch;
pub mod declared_metrics;
mod metrics;

// What each call meets.
mod recent;
mod caller;
mod decide;
pub mod guard;
pub mod passport;
pub mod refusal;
mod revocable_body;

#[cfg(test)]
mod test_claims;

pub use caller::{API_KEY_PREFIX, CallerCredential, CallerToken, CredentialRefusal};
pub use client::{ForgeryLimit, JoinError, MeshClient};
pub use config::MeshConfig;
pub use decide::{ActorToken, Decision, Question};
pub use passport::PassportGuard;
pub use revocable_body::RevocableBody;
