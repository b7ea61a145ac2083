//! What a mutation makes invalid, as long as it is not over.

use super::{Delivery, Invalidator};
use crate::{fault::Fault, upstream::Call};
use accord_runtime::deadline::Deadline;
use accord_wire::Malformed;
use bytes::Bytes;
use std::mem;

/// Sees to it that a mutation's tags are invalidated however it ends: the upstream may have committed although nobody
/// waits for its answer any more.
pub(crate) struct PendingInvalidation {
    invalidator: Invalidator,
    tags: Vec<String>,
}

impl PendingInvalidation {
    /// The tags of a mutation that is about to be sent; none where it declares none.
    pub(crate) fn of(invalidator: Option<&Invalidator>, call: &Call, message: &Bytes) -> Result<Option<Self>, Fault> {
        let templates = &call.permit.entry().method.policy.invalidates;
        let Some(invalidator) = invalidator.filter(|_| !templates.is_empty()) else { return Ok(None) };
        let mut tags = Vec::with_capacity(templates.len());
        for template in templates {
            match template.expand(message, None) {
                Ok(tag) => tags.extend(tag),
                // Longer than any tag of a cached answer.
                Err(Malformed::TooLarge) => {}
                Err(_) => return Err(Fault::unreadable()),
            }
        }
        Ok(Some(Self { invalidator: invalidator.clone(), tags }))
    }

    /// The mutation has ended: invalidates where it may have changed something.
    pub(crate) async fn finish(mut self, may_have_acted: bool, deadline: Deadline) -> Option<Delivery> {
        let tags = mem::take(&mut self.tags);
        if !may_have_acted {
            return None;
        }
        Some(self.invalidator.invalidate(tags, deadline).await)
    }
}

impl Drop for PendingInvalidation {
    fn drop(&mut self) {
        if !self.tags.is_empty() {
            self.invalidator.enqueue(mem::take(&mut self.tags), None);
        }
    }
}
