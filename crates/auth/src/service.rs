//! The gRPC services: each translates its request, asks the domain, and translates the answer.

pub(crate) mod guard;

pub(crate) mod token;
pub(crate) mod access;
pub(crate) mod key;
pub(crate) mod admin;
pub(crate) mod account;
pub(crate) mod relation;
pub(crate) mod revocation;

mod message;
mod page;
mod status;
