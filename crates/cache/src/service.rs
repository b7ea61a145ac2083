//! The services, as the protos describe them.

pub(crate) mod idempotency;
pub(crate) mod invalidation;
pub(crate) mod namespaces;
pub(crate) mod read_through;
