//! The services, as the protos describe them.

mod consistency;
pub(crate) mod idempotency;
pub(crate) mod invalidation;
pub(crate) mod namespaces;
pub(crate) mod read_through;

use std::time::Duration;

use accord_api::accord::cache::v1 as api;
use accord_api::accord::fault::v1::Reason;
use accord_readthrough::{Acknowledgement, InvalidationLog, Origin, Outcome, Overload, Refused, Replica, Store, World};
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

/// Until nobody answers any more with what a number of the log is about.
async fn acknowledged<L: InvalidationLog, O: Origin, S: Store, W: World>(
    replica: &Replica<L, O, S, W>,
    incarnation: u128,
    number: u64,
) -> Result<(), Status> {
    let mut changes = replica.changes();
    loop {
        changes.mark_unchanged();
        match replica.acknowledgement(incarnation, number) {
            Acknowledgement::Done => return Ok(()),
            Acknowledgement::Unknown => return Err(another_log()),
            // Whichever comes first.
            Acknowledgement::Wait(time) => drop(tokio::time::timeout(time, changes.changed()).await),
        }
    }
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
