//! How often a method may be called: every declared limit is a generic cell rate algorithm, and all must pass.

use crate::{
    authorize::Permit,
    fault::{Component, Fault},
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::{RateLimit, RateLimitBy};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DefaultKeyedStateStore,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tonic::Code;

/// Keys beyond this many are swept, so that strangers can't fill the memory.
const SWEEP_ABOVE: usize = 100_000;
/// How many requests go by between two looks at the number of keys: counting them, and the more so sweeping them, costs
/// more than taking one request.
const LOOK_EVERY: u32 = 1024;

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Principal(Arc<str>),
    Tenant(Option<Arc<str>>),
    Address(IpAddr),
    Method,
}

type Buckets = RateLimiter<Key, DefaultKeyedStateStore<Key>, DefaultClock, StateInformationMiddleware>;

/// The limits of one method, with their counts.
#[derive(Default)]
pub struct Limits(Vec<Limit>);

struct Limit {
    declared: RateLimit,
    buckets: Buckets,
    taken: AtomicU32,
    policy: HeaderValue,
}

/// What is left of the tightest limit, for the head of an HTTP answer.
#[derive(Default)]
pub struct Allowance {
    policy: Option<HeaderValue>,
    left: u32,
    name: &'static str,
}

impl Limits {
    /// Fresh counts for the declared limits.
    pub fn new(declared: &[RateLimit]) -> Self {
        Self(declared.iter().map(Limit::new).collect())
    }

    /// Takes one request from every limit, or says when to come back.
    pub fn take(&self, permit: &Permit) -> Result<Allowance, Fault> {
        let mut tightest = Allowance { left: u32::MAX, ..Allowance::default() };
        for limit in &self.0 {
            let left = limit.take(permit)?;
            if left < tightest.left {
                tightest = Allowance { policy: Some(limit.policy.clone()), left, name: name(limit.declared.by) };
            }
        }
        Ok(tightest)
    }
}

impl Limit {
    fn new(declared: &RateLimit) -> Self {
        let one = NonZeroU32::MIN;
        let requests = NonZeroU32::new(declared.requests).unwrap_or(one);
        let burst = NonZeroU32::new(declared.burst).unwrap_or(one);
        let quota = Quota::with_period(declared.per / requests.get()).unwrap_or(Quota::per_second(requests));
        let policy = format!("\"{}\";q={};w={}", name(declared.by), declared.requests, declared.per.as_secs().max(1));
        Self {
            declared: declared.clone(),
            taken: AtomicU32::new(0),
            buckets: RateLimiter::keyed(quota.allow_burst(burst)).with_middleware(),
            policy: HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("\"default\"")),
        }
    }

    fn take(&self, permit: &Permit) -> Result<u32, Fault> {
        let is_time = self.taken.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EVERY);
        if is_time && self.buckets.len() > SWEEP_ABOVE {
            self.buckets.retain_recent();
        }
        match self.buckets.check_key(&key(self.declared.by, permit)) {
            Ok(state) => Ok(state.remaining_burst_capacity()),
            Err(early) => {
                let wait = early.wait_time_from(DefaultClock::default().now());
                let by = name(self.declared.by);
                let message = format!(
                    "the limit of {} requests in {:?} for each {by} is used up",
                    self.declared.requests, self.declared.per
                );
                let fault =
                    Fault::retry(Component::Gateway, Code::ResourceExhausted, Reason::RateLimited, message, wait);
                Err(fault.header(POLICY, self.policy.clone()))
            }
        }
    }
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

impl Allowance {
    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers).
    pub fn add_headers(&self, headers: &mut HeaderMap) {
        let Some(policy) = &self.policy else { return };
        headers.insert(POLICY, policy.clone());
        if let Ok(left) = HeaderValue::try_from(format!("\"{}\";r={}", self.name, self.left)) {
            headers.insert(LEFT, left);
        }
    }
}

fn key(by: RateLimitBy, permit: &Permit) -> Key {
    match by {
        RateLimitBy::Principal => match permit.subject() {
            Some(subject) => Key::Principal(Arc::clone(subject)),
            None => Key::Address(permit.address()),
        },
        RateLimitBy::Tenant => Key::Tenant(permit.tenant().cloned()),
        RateLimitBy::Address => Key::Address(permit.address()),
        RateLimitBy::Method => Key::Method,
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
