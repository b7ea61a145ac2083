//! The services, as the protos describe them.

pub mod idempotency;
pub mod invalidation;
pub mod read_through;

use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_runtime::fault;
use tonic::{Code, Status};

fn malformed(problem: impl Into<String>) -> Status {
    fault::status(Code::InvalidArgument, Reason::RequestMalformed, problem)
}

/// A duration of a request; nothing where it is absent.
fn duration(field: &str, value: Option<&prost_types::Duration>) -> Result<Duration, Status> {
    let duration = value.copied().unwrap_or_default();
    Duration::try_from(duration).map_err(|_| malformed(format!("`{field}` is negative or out of range")))
}
