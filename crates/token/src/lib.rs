//! Tokens: what they say, how they are signed, and everything a verifier does before it believes one.
//!
//! Two kinds exist. An *access token* is what a client brings to the door. A *passport* is what a request carries on its
//! way inward: narrowed to one service, short-lived, revoked together with the access token it was made from.
//!
//! Invariants:
//! - Nothing a token says is looked at before its signature has been checked.
//! - A token is never believed on knowledge older than the bound: [`Member`] then refuses with `UNAVAILABLE`.
//! - A remembered signature spares the arithmetic only; expiry and revocation are checked on every use.

pub mod admit;
pub mod claims;
pub mod config;
mod decide;
mod json;
pub mod keys;
mod login;
pub mod member;
pub mod refusal;
pub mod sign;
pub mod snapshot;
pub mod verify;
mod watch;

pub use claims::{Actor, Claims, Kind, Type};
pub use config::MemberConfig;
pub use decide::{Decision, Question};
pub use keys::{Algorithm, KeySet, PublicKey, SigningKey};
pub use member::{JoinError, Member};
pub use refusal::{Flaw, Refusal};
pub use snapshot::Snapshot;
pub use verify::Verified;

/// The metadata key and header that carries a passport.
pub const PASSPORT_HEADER: &str = "x-accord-passport";
