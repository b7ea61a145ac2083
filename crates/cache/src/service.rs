//! The services, as the protos describe them.

pub(crate) mod idempotency;
pub(crate) mod invalidation;
pub(crate) mod namespaces;
pub(crate) mod read_through;

use std::time::Duration;

use accord_api::accord::cache::v1 as api;
use accord_api::accord::fault::v1::Reason;
use accord_readthrough::{Outcome, Overload, Refused};
use accord_runtime::fault::StatusBuilder;
use tonic::Status;

/// The refusal of what the engine has no room for.
fn overloaded(overload: Overload) -> Status {
    let soon = Duration::from_millis(100);
    StatusBuilder::new(Reason::Overloaded, overload.to_string()).retry_after(soon).build()
}

/// The refusal of a batch of invalidations, which its sender tries again.
fn refused(refused: &Refused) -> Status {
    let reason = if *refused == Refused::Overload { Reason::Overloaded } else { Reason::InvalidationLogUnavailable };
    StatusBuilder::new(reason, refused.to_string()).retry_after(Duration::from_millis(100)).build()
}

/// The refusal of a question about a log that this replica does not know, or not any more.
fn another_log() -> Status {
    StatusBuilder::new(Reason::InvalidationLogUnavailable, "the number is of another invalidation log").build()
}

fn outcome(outcome: Outcome) -> api::Outcome {
    match outcome {
        Outcome::Hit => api::Outcome::Hit,
        Outcome::Miss => api::Outcome::UriMiss,
        Outcome::Stale => api::Outcome::Stale,
        Outcome::Request => api::Outcome::Request,
        Outcome::Bypass => api::Outcome::Bypass,
    }
}
