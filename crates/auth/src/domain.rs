//! What auth does, in its own terms: no protocol and no command line is named here, those are faces on it.
//!
//! From the question that everything begins with to what answers it.

pub mod auth;
pub mod denial;

// What callers ask for.
pub(crate) mod client;
pub(crate) mod decoy_keys;
pub(crate) mod api_key;
mod certificate;
pub(crate) mod login;
pub(crate) mod issuers;
mod federation;
pub(crate) mod account;
mod refresh;
pub(crate) mod device;
pub(crate) mod access;
pub(crate) mod admit;
mod exchange;
mod introspect;
pub(crate) mod revocation;
pub(crate) mod relations;

// What administrators ask for.
pub mod admin;
pub mod key_rotation;
pub mod reseal;

// What these are made with.
pub(crate) mod throttle;
mod totp;
pub(crate) mod password;
pub mod issue;
pub mod scope;
pub(crate) mod policy;
pub(crate) mod state;
pub mod encryption_key;
