//! The services, as the protos describe them.

pub mod idempotency;
pub mod invalidation;
pub mod read_through;
