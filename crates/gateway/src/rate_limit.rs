//! Rate limits: every limit that a method declares must have room for the call.

mod shared;

pub(crate) use self::shared::SharedLimits;
pub use self::shared::SharedLimitsConfig;

use self::shared::Counted;
use crate::{
    authorize::Permit,
    explain_call::Explanation,
    fault::{Component, Fault, whole_seconds},
    protocol::WireProtocol,
    table::{Counting, Quota, Rate, RateLimitKey},
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::RateLimitBy;
use accord_runtime::{deadline::Deadline, fair_share::network_of};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{sync::Arc, time::Duration};

/// What is left of the tightest limit, for the head of an HTTP answer; nothing in gRPC, whose clients read no such headers.
pub(crate) struct Allowance(Option<Left>);

struct Left {
    policy: HeaderValue,
    name: &'static str,
    calls: u32,
    counted_by: CountedBy,
}

/// Whose count it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CountedBy {
    /// That of whoever is configured to count.
    Configured,
    /// This gateway's alone, since the shared server did not count.
    LocalFallback,
}

/// Takes one call from every limit, or says when to come back. For a dry run it only looks, and says the same.
pub(crate) async fn rate_limit(
    shared: Option<&SharedLimits>,
    protocol: WireProtocol,
    permit: &Permit,
    deadline: Deadline,
    explanation: &mut Explanation,
) -> Result<Allowance, Fault> {
    match shared.filter(|_| !permit.entry().rates.is_empty()) {
        None => {
            let counting = Counting::of(explanation);
            judge(counted(permit).map(|it| it.count(counting)), protocol, CountedBy::Configured, explanation)
        }
        // Apart, since every call would carry the room that it takes.
        Some(shared) => Box::pin(rate_limit_shared(shared, protocol, permit, deadline, explanation)).await,
    }
}

async fn rate_limit_shared(
    shared: &SharedLimits,
    protocol: WireProtocol,
    permit: &Permit,
    deadline: Deadline,
    explanation: &mut Explanation,
) -> Result<Allowance, Fault> {
    let counting = Counting::of(explanation);
    let all: Vec<_> = counted(permit).collect();
    let Some(outcomes) = shared.count(counting, &permit.entry().method.name, &all, deadline).await else {
        let outcomes = all.into_iter().map(|it| it.count(counting));
        return judge(outcomes, protocol, CountedBy::LocalFallback, explanation);
    };
    // What this gateway let through is counted here as well: so nobody has a second burst when it has to stand in.
    let outcomes = all.into_iter().zip(outcomes).inspect(|(it, outcome)| {
        let _ = outcome.and_then(|_| it.quota.count(counting, &it.key));
    });
    judge(outcomes, protocol, CountedBy::Configured, explanation)
}

/// The limits that a call has to pass.
fn counted(permit: &Permit) -> impl Iterator<Item = Counted<'_>> {
    let rates = permit.entry().rates.iter();
    rates.map(|rate| Counted { rate, quota: rate.quota(permit.roles()), key: key(rate.by, permit) })
}

impl Counting {
    fn of(explanation: &Explanation) -> Self {
        if explanation.is_dry_run() { Self::Look } else { Self::Take }
    }
}

impl Counted<'_> {
    fn count(self, counting: Counting) -> (Self, Result<u32, Duration>) {
        let outcome = self.quota.count(counting, &self.key);
        (self, outcome)
    }
}

/// The tightest of the limits, up to the first that has no room.
fn judge<'a>(
    outcomes: impl Iterator<Item = (Counted<'a>, Result<u32, Duration>)>,
    protocol: WireProtocol,
    counted_by: CountedBy,
    explanation: &mut Explanation,
) -> Result<Allowance, Fault> {
    let is_http = !protocol.is_answered_by_grpc_servers();
    let mut tightest: Option<(&Rate, &Quota, u32)> = None;
    for (Counted { rate, quota, .. }, outcome) in outcomes {
        explanation.limit(rate, quota, outcome, counted_by == CountedBy::LocalFallback);
        let left = outcome.map_err(|wait| rate_limited((rate, quota), wait, is_http, counted_by))?;
        if tightest.is_none_or(|(.., least)| left < least) {
            tightest = Some((rate, quota, left));
        }
    }
    let tightest = tightest.filter(|_| is_http).map(|(rate, quota, calls)| {
        let policy = quota.policy.clone();
        Left { policy, name: rate.name(), calls, counted_by }
    });
    Ok(Allowance(tightest))
}

fn key(by: RateLimitBy, permit: &Permit) -> RateLimitKey {
    let address = || RateLimitKey::Address(network_of(permit.address()));
    match by {
        RateLimitBy::Principal => permit.subject().map_or_else(address, |it| RateLimitKey::Principal(Arc::clone(it))),
        RateLimitBy::Tenant => RateLimitKey::Tenant(permit.tenant().cloned()),
        RateLimitBy::Address => address(),
        RateLimitBy::Method => RateLimitKey::Method,
    }
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

impl Allowance {
    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers), the latter with `local` where this gateway stood
    /// in for the shared server.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        let Some(Left { policy, name, calls, counted_by }) = &self.0 else { return };
        headers.insert(POLICY, policy.clone());
        headers.extend(counted_by.value(format!("\"{name}\";r={calls}")).map(|left| (LEFT, left)));
    }

    /// The same on an answer of the gateway's own: what was counted is counted, whatever became of the call.
    pub(crate) fn on(&self, mut fault: Fault) -> Fault {
        fault.with_headers(|headers| self.add_headers(headers));
        fault
    }
}

impl CountedBy {
    /// What is left, as a header's value.
    fn value(self, mut left: String) -> Option<HeaderValue> {
        if self == Self::LocalFallback {
            left.push_str(";local");
        }
        let mut left = HeaderValue::try_from(left).ok()?;
        // It never repeats, so it has no place in HPACK's table.
        left.set_sensitive(true);
        Some(left)
    }
}

fn rate_limited((rate, quota): (&Rate, &Quota), wait: Duration, is_http: bool, counted_by: CountedBy) -> Fault {
    let (Quota { requests, per, role, .. }, by) = (quota, rate.name());
    let plan = role.as_ref().map(|role| format!(" with the role `{role}`")).unwrap_or_default();
    let local = match counted_by {
        CountedBy::LocalFallback => ", as this gateway counts alone while the shared server does not",
        CountedBy::Configured => "",
    };
    let message = format!("the limit of {requests} requests in {per:?} for each {by}{plan} is used up{local}");
    let mut fault = Fault::retry(Component::Gateway, Reason::RateLimited, message, wait);
    if is_http {
        let left = counted_by.value(format!("\"{by}\";r=0;t={}", whole_seconds(wait)));
        fault.with_headers(|headers| {
            headers.insert(POLICY, quota.policy.clone());
            headers.extend(left.map(|left| (LEFT, left)));
        });
    }
    fault
}
