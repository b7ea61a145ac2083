//! What holds where no layer says otherwise.

use accord_api::accord::policy::v1::{
    Cache, CacheScope, Criticality, Deadline, Idempotency, MethodPolicy, OnCacheFailure, RateLimitBy, Retry, StatusCode,
};
use prost_reflect::DynamicMessage;
use prost_types::Duration;

use crate::limits::{DEFAULT_CACHE_MAX_BYTES, DEFAULT_MESSAGE_BYTES};
use crate::merge::Merged;
use crate::options::policy_type;

const DAY: i64 = 24 * 60 * 60;

/// The weakest layer. A section has defaults only where some layer has the section.
pub(crate) fn defaults(merged: &Merged) -> DynamicMessage {
    reflected(&MethodPolicy {
        deadline: Some(Deadline { default: seconds(5), max: seconds(30) }),
        cache: merged.has("cache").then(cache),
        retry: merged.has("retry").then(|| Retry { on: vec![StatusCode::Unavailable.into()], ..Retry::default() }),
        idempotency: merged.has("idempotency").then(|| Idempotency { required: Some(false), window: seconds(DAY) }),
        criticality: Criticality::Critical.into(),
        max_request_bytes: Some(DEFAULT_MESSAGE_BYTES),
        max_response_bytes: Some(DEFAULT_MESSAGE_BYTES),
        on_cache_failure: OnCacheFailure::Bypass.into(),
        ..MethodPolicy::default()
    })
}

/// The merged policy, with the defaults inside rate limits, whose elements are replaced whole and never merged.
pub(crate) fn effective(merged: &Merged) -> MethodPolicy {
    let mut policy = merged.message();
    for limit in &mut policy.rate_limit {
        limit.per = limit.per.or(seconds(1));
        limit.burst = limit.burst.or(Some(limit.requests));
        if limit.by() == RateLimitBy::Unspecified {
            limit.set_by(RateLimitBy::Principal);
        }
        for plan in &mut limit.plans {
            plan.per = plan.per.or(limit.per);
            plan.burst = plan.burst.or(Some(plan.requests));
        }
    }
    policy
}

/// A policy as the merge handles it.
pub(crate) fn reflected(policy: &MethodPolicy) -> DynamicMessage {
    let mut message = DynamicMessage::new(policy_type());
    message.transcode_from(policy).expect("the generated policy and its descriptor come from one file");
    message
}

fn cache() -> Cache {
    Cache {
        stale_while_revalidate: seconds(0),
        stale_if_error: seconds(0),
        negative_ttl: seconds(0),
        scope: CacheScope::PerPrincipal.into(),
        max_bytes: Some(DEFAULT_CACHE_MAX_BYTES),
        ..Cache::default()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every duration of a policy is optional")]
fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}
