//! Which replica of the cache a read goes to: the owner of its key, so that replicas have no more loads than one cache.

use crate::upstream::Call;
use accord_contract::CacheScope;
use accord_wire::hash_parts;
use std::sync::Arc;

/// The hash of what tells a stored answer from others, alike at every gateway. Those that differ in a header alone have one owner.
pub(super) fn key_hash(call: &Call, key: &[u8]) -> u64 {
    let permit = &call.permit;
    let is_shared = call.policy().cache.as_ref().is_some_and(|cache| cache.scope == CacheScope::Shared);
    let principal = permit.subject().filter(|_| !is_shared);
    let [tenant, principal] = [permit.tenant(), principal].map(bytes);
    hash_parts([permit.entry().method.name.as_bytes(), tenant, principal, key])
}

fn bytes(text: Option<&Arc<str>>) -> &[u8] {
    text.map_or(&[], |text| text.as_bytes())
}
