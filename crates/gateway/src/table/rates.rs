//! Rate limiter (GCRA): how often a method was called lately, by whomever its contract counts.

use accord_contract::{RateLimit, RateLimitBy};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DefaultKeyedStateStore,
};
use http::HeaderValue;
use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Keys beyond this many are swept, so that callers can't fill the memory.
const SWEEP_ABOVE: usize = 100_000;
/// How many requests go by between two checks of the number of keys: counting them, and the more so sweeping them, costs
/// more than taking one request.
const SWEEP_CHECK_INTERVAL: u32 = 1024;

/// Whose calls are counted together.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum RateLimitKey {
    /// Those of a principal.
    Principal(Arc<str>),
    /// Those of a tenant; of everybody unknown where there is none.
    Tenant(Option<Arc<str>>),
    /// Those from an address.
    Address(IpAddr),
    /// All of the method.
    Method,
}

type Buckets =
    RateLimiter<RateLimitKey, DefaultKeyedStateStore<RateLimitKey>, DefaultClock, StateInformationMiddleware>;

/// A declared limit with its counts: a generic cell rate algorithm for each key.
pub(crate) struct Rate {
    /// What the contract says.
    pub declared: RateLimit,
    /// The same as a `RateLimit-Policy` header.
    pub policy: HeaderValue,
    buckets: Buckets,
    taken: AtomicU32,
}

impl Rate {
    /// Fresh counts.
    pub(crate) fn new(declared: &RateLimit) -> Self {
        let one = NonZeroU32::MIN;
        let requests = NonZeroU32::new(declared.requests).unwrap_or(one);
        let burst = NonZeroU32::new(declared.burst).unwrap_or(one);
        let quota = Quota::with_period(declared.per / requests.get()).unwrap_or(Quota::per_second(requests));
        let policy = format!("\"{}\";q={};w={}", name(declared.by), declared.requests, declared.per.as_secs().max(1));
        Self {
            declared: declared.clone(),
            policy: HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("\"default\"")),
            buckets: RateLimiter::keyed(quota.allow_burst(burst)).with_middleware(),
            taken: AtomicU32::new(0),
        }
    }

    /// Counts a call: how many more there is room for at once, or how long to wait until there is room for it.
    pub(crate) fn take(&self, key: &RateLimitKey) -> Result<u32, Duration> {
        let is_time = self.taken.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP_CHECK_INTERVAL);
        if is_time && self.buckets.len() > SWEEP_ABOVE {
            self.buckets.retain_recent();
        }
        match self.buckets.check_key(key) {
            Ok(state) => Ok(state.remaining_burst_capacity()),
            Err(early) => Err(early.wait_time_from(DefaultClock::default().now())),
        }
    }

    /// The kind of key, as headers name it.
    pub(crate) fn name(&self) -> &'static str {
        name(self.declared.by)
    }
}

fn name(by: RateLimitBy) -> &'static str {
    match by {
        RateLimitBy::Principal => "principal",
        RateLimitBy::Tenant => "tenant",
        RateLimitBy::Address => "address",
        RateLimitBy::Method => "method",
    }
}
