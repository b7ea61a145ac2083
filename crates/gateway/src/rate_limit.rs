//! Rate limits: every limit that a method declares must have room for the call.

use crate::{
    authorize::Permit,
    fault::{Component, Fault},
    protocol::WireProtocol,
    table::{Rate, RateLimitKey},
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::RateLimitBy;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{sync::Arc, time::Duration};

/// What is left of the tightest limit, for the head of an HTTP answer; nothing in gRPC, whose clients read no such headers.
pub(crate) struct Allowance(Option<Left>);

struct Left {
    policy: HeaderValue,
    name: &'static str,
    calls: u32,
}

/// Takes one call from every limit, or says when to come back.
pub(crate) fn rate_limit(protocol: WireProtocol, permit: &Permit) -> Result<Allowance, Fault> {
    let is_http = !protocol.is_answered_by_grpc_servers();
    let mut tightest = None;
    for rate in permit.entry().rates.iter() {
        let left = rate.take(&key(rate.declared.by, permit)).map_err(|wait| rate_limited(rate, wait, is_http))?;
        if tightest.is_none_or(|(_, least)| left < least) {
            tightest = Some((rate, left));
        }
    }
    let left = |(rate, calls): (&Rate, u32)| Left { policy: rate.policy.clone(), name: rate.name(), calls };
    Ok(Allowance(tightest.filter(|_| is_http).map(left)))
}

fn key(by: RateLimitBy, permit: &Permit) -> RateLimitKey {
    match by {
        RateLimitBy::Principal => match permit.subject() {
            Some(subject) => RateLimitKey::Principal(Arc::clone(subject)),
            None => RateLimitKey::Address(permit.address()),
        },
        RateLimitBy::Tenant => RateLimitKey::Tenant(permit.tenant().cloned()),
        RateLimitBy::Address => RateLimitKey::Address(permit.address()),
        RateLimitBy::Method => RateLimitKey::Method,
    }
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

impl Allowance {
    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers).
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        let Some(Left { policy, name, calls }) = &self.0 else { return };
        headers.insert(POLICY, policy.clone());
        if let Ok(mut left) = HeaderValue::try_from(format!("\"{name}\";r={calls}")) {
            // It never repeats, so it has no place in HPACK's table.
            left.set_sensitive(true);
            headers.insert(LEFT, left);
        }
    }
}

fn rate_limited(rate: &Rate, wait: Duration, is_http: bool) -> Fault {
    let (requests, per, by) = (rate.declared.requests, rate.declared.per, rate.name());
    let message = format!("the limit of {requests} requests in {per:?} for each {by} is used up");
    let fault = Fault::retry(Component::Gateway, Reason::RateLimited, message, wait);
    if is_http { fault.header(POLICY, rate.policy.clone()) } else { fault }
}
