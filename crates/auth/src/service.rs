//! The gRPC services: each reads its request, asks the domain, and words the answer.

pub mod access;
pub mod key;
pub mod revocation;
pub mod token;
