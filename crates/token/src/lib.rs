//! Tokens: what they say, how they are signed, and everything a verifier checks before it accepts one.
//!
//! Two kinds exist. An *access token* is what a client shows to the gateway. A *passport* is what a request carries on its
//! way inward: narrowed to one service, short-lived, revoked together with the access token it was made from.
//!
//! This crate is pure, so that a service of any make can verify passports with it: it opens no socket, runs no task and
//! knows no gRPC. Membership in the mesh, which feeds it keys and revocations, is `accord-mesh`.
//!
//! Invariants:
//! - Nothing a token says is looked at before its signature has been checked, but in whose name a foreign one comes, by which
//!   its keys are found.
//! - A remembered signature spares the arithmetic only; expiry and revocation are checked on every use.

#![warn(unreachable_pub)]

pub mod claims;
mod json;
pub mod keys;
pub mod jwk;
pub mod refusal;
mod shared_map;
pub mod sign;
pub mod snapshot;
pub mod verify;
pub mod foreign;

pub use claims::{Actor, Claims, Kind, Type};
pub use keys::{Algorithm, KeySet, PublicKey, SigningKey};
pub use refusal::{InvalidTokenReason, Refusal};
pub use shared_map::SharedMap;
pub use snapshot::{PolicyReads, RevocationSnapshot, RevocationUpdate};
pub use verify::Verified;

/// The metadata key and header that carries a passport.
pub const PASSPORT_HEADER: &str = "x-accord-passport";
