//! The gateway: one public door to gRPC services, with the contract of each method enforced.
//!
//! [`call::travel`] is the whole way of a request in one function; it calls the steps in the order in which a request
//! meets them.
//!
//! Invariants: this is the only crate that knows HTTP/1.1. A gRPC body that nobody has to look at passes through as
//! bytes. Nothing goes inward without a [`authorize::Permit`].

pub mod cli;
pub mod config;
pub mod serve;

pub mod door;

pub mod call;

// The steps.
pub mod admit;
pub mod authenticate;
pub mod authorize;
pub mod cached;
pub mod events;
pub mod frames;
pub mod invalidate;
pub mod keyed;
pub mod limit;
pub mod message;
pub mod method;
pub mod respond;
pub mod seats;
pub mod upstream;

// What the steps stand on.
pub mod details;
pub mod explain;
pub mod fault;
pub mod grpc;
pub mod inner;
pub mod inspect;
pub mod metadata;
pub mod protocol;
pub mod reflect;
pub mod table;
