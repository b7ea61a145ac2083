//! What is wrong with a request, and the readers of its fields that say so.

use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_runtime::fault;
use tonic::Status;

/// The longest duration that protobuf allows, about 10,000 years: sums of them are far from overflow.
const LONGEST: Duration = Duration::from_hours(87_660_000);

/// A request that means nothing.
pub(crate) fn malformed(problem: impl Into<String>) -> Status {
    fault::status(Reason::RequestMalformed, problem)
}

/// A duration of a request; nothing where it is absent.
pub(crate) fn duration(field: &str, value: Option<&prost_types::Duration>) -> Result<Duration, Status> {
    let duration = Duration::try_from(value.copied().unwrap_or_default()).ok().filter(|duration| *duration <= LONGEST);
    duration.ok_or_else(|| malformed(format!("`{field}` is negative or out of range")))
}

/// Refuses more elements of a field than anybody means.
pub(crate) fn bounded(field: &str, count: usize, most: usize) -> Result<(), Status> {
    if count <= most { Ok(()) } else { Err(malformed(format!("`{field}` has {count} elements, more than {most}"))) }
}
