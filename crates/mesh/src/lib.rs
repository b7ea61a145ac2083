//! Membership of a binary in the mesh: it logs in, follows revocations, verifies tokens and asks auth for decisions.
//!
//! What a token is and how it is checked stands in `accord-token`; this crate keeps what the check needs fresh.
//!
//! Invariant: a token is never accepted on a snapshot older than the bound; [`Member`] then refuses with `UNAVAILABLE`.

pub mod admit;
pub mod config;
mod decide;
mod login;
pub mod member;
pub mod refusal;
mod snapshot;
mod watch;

pub use config::MemberConfig;
pub use decide::{Decision, Question};
pub use member::{JoinError, Member};
