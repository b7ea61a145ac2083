//! The services, as the protos describe them.

pub mod idempotency;
pub mod invalidation;
pub mod read_through;

use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_runtime::fault;
use tonic::Status;

fn malformed(problem: impl Into<String>) -> Status {
    fault::status(Reason::RequestMalformed, problem)
}

/// The longest duration that protobuf allows, about 10,000 years: sums of them are far from overflow.
const LONGEST: Duration = Duration::from_hours(87_660_000);

/// A duration of a request; nothing where it is absent.
fn duration(field: &str, value: Option<&prost_types::Duration>) -> Result<Duration, Status> {
    let duration = Duration::try_from(value.copied().unwrap_or_default()).ok().filter(|duration| *duration <= LONGEST);
    duration.ok_or_else(|| malformed(format!("`{field}` is negative or out of range")))
}
