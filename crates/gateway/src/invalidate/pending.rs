//! What a mutation makes invalid, as long as it is not over.

use super::{Delivery, Invalidator};
use crate::{fault::Fault, upstream::Call};
use accord_readthrough::Tag;
use accord_runtime::deadline::Deadline;
use accord_wire::Malformed;
use bytes::Bytes;
use std::{mem, sync::Arc};

/// A tag whose answers are invalid. Those that are deleted come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InvalidTag {
    /// Whether they may be served while their origin fails.
    pub expires: bool,
    /// Its name.
    pub name: String,
}

impl InvalidTag {
    /// As copies and leases have it.
    pub(super) fn hashed(&self) -> Tag {
        Tag::named(&self.name)
    }
}

/// Sees to it that a mutation's tags are invalidated however it ends: the upstream may have committed although nobody
/// waits for its answer any more.
pub(crate) struct PendingInvalidation {
    invalidator: Invalidator,
    tags: Vec<InvalidTag>,
    tenant: Arc<str>,
    is_local: bool,
}

impl PendingInvalidation {
    /// The tags of a mutation that is about to be sent; none where it declares none.
    pub(crate) fn of(invalidator: Option<&Invalidator>, call: &Call, message: &Bytes) -> Result<Option<Self>, Fault> {
        let policy = &call.permit.entry().method.policy;
        let (templates, expires) = (&policy.invalidates, policy.invalidation_expires);
        let Some(invalidator) = invalidator.filter(|_| !templates.is_empty()) else { return Ok(None) };
        let mut tags = Vec::with_capacity(templates.len());
        for template in templates {
            match template.expand(message, None) {
                Ok(name) => tags.extend(name.map(|name| InvalidTag { expires, name })),
                // Longer than any tag of a cached answer.
                Err(Malformed::TooLarge) => {}
                Err(_) => return Err(Fault::unreadable()),
            }
        }
        let tenant = call.permit.tenant().cloned().unwrap_or_else(|| Arc::from(""));
        let is_local = policy.acknowledged_locally;
        Ok(Some(Self { invalidator: invalidator.clone(), tags, tenant, is_local }))
    }

    /// The mutation has ended: invalidates where it may have changed something.
    pub(crate) async fn finish(mut self, may_have_acted: bool, deadline: Deadline) -> Option<Delivery> {
        let tags = mem::take(&mut self.tags);
        if !may_have_acted {
            return None;
        }
        Some(self.invalidator.invalidate(tags, (Arc::clone(&self.tenant), self.is_local), deadline).await)
    }
}

impl Drop for PendingInvalidation {
    fn drop(&mut self) {
        if !self.tags.is_empty() {
            self.invalidator.enqueue(mem::take(&mut self.tags), None);
        }
    }
}
