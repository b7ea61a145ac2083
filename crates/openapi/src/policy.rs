//! What of a policy callers are told: how long, how often, how fresh, how often tried. Nothing of how that is done within.

use accord_api::accord::policy::v1::{Cache, MethodPolicy, RateLimit};
use accord_contract::policy_type;
use prost_reflect::DynamicMessage;
use serde_json::Value;

/// The policy as `x-accord-policy`, in the JSON form of `accord.policy.v1.MethodPolicy`. What is not named here is not told.
pub(crate) fn told(effective: &MethodPolicy) -> Value {
    let cache = effective.cache.as_ref().map(|cache| Cache {
        ttl: cache.ttl,
        stale_while_revalidate: cache.stale_while_revalidate,
        stale_if_error: cache.stale_if_error,
        negative_ttl: cache.negative_ttl,
        scope: cache.scope,
        near: cache.near,
        ..Cache::default()
    });
    // What others may is of no concern; what a caller with a plan may, the headers of its answers tell.
    let rate_limit = effective.rate_limit.iter().map(|limit| RateLimit { plans: Vec::new(), ..limit.clone() });
    let told = MethodPolicy {
        deadline: effective.deadline,
        cache,
        rate_limit: rate_limit.collect(),
        retry: effective.retry.clone(),
        idempotency: effective.idempotency,
        max_request_bytes: effective.max_request_bytes,
        max_response_bytes: effective.max_response_bytes,
        max_stream_messages: effective.max_stream_messages,
        stream_idle: effective.stream_idle,
        ..MethodPolicy::default()
    };
    let mut message = DynamicMessage::new(policy_type());
    match message.transcode_from(&told) {
        Ok(()) => serde_json::to_value(message).unwrap_or_default(),
        Err(_) => Value::Null,
    }
}
