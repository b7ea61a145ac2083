//! The services over the wire, before an upstream that tells what it was read.

mod admission;
mod batch_loads;
mod consistency_tokens;
mod declared;
mod fixture;
mod not_stored;
mod invalidations;
mod idempotency;
mod leases;
mod loads;
mod namespace_loads;
mod namespace_requirements;
mod namespaces;
mod plans;
mod reads;
mod refusals;
mod retries;
mod shop;
mod versions;
mod watch;
mod write_through;
