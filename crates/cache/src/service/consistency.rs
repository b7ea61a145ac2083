//! How fresh an answer a caller requires, as its request says it.

use accord_api::accord::cache::v1::{self as api, consistency};
use accord_readthrough::ConsistencyRequirement;
use bytes::Bytes;
use tonic::Status;

use crate::malformed::duration;

/// Whether only what is stored will do, and the consistency tokens.
pub(super) fn passed(consistency: Option<&api::Consistency>) -> (bool, Vec<Bytes>) {
    consistency.map_or_else(Default::default, |asked| (asked.only_if_cached, asked.at_least_as_fresh.clone()))
}

pub(super) fn requirement(consistency: Option<&api::Consistency>) -> Result<ConsistencyRequirement, Status> {
    Ok(match consistency.and_then(|consistency| consistency.requirement.as_ref()) {
        None | Some(consistency::Requirement::Strong(false)) => ConsistencyRequirement::MinimizeLatency,
        Some(consistency::Requirement::Strong(true)) => ConsistencyRequirement::Strong,
        Some(consistency::Requirement::MaxStaleness(bound)) => {
            ConsistencyRequirement::MaxStaleness(duration("consistency.max_staleness", Some(bound))?)
        }
    })
}
