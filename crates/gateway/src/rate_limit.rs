//! Rate limits: every limit that a method declares must have room for the call.

use crate::{
    authorize::Permit,
    fault::{Component, Fault},
    protocol::WireProtocol,
    table::{Quota, Rate, RateLimitKey},
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::RateLimitBy;
use accord_runtime::fair_share::network_of;
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
    let mut tightest: Option<(&Rate, &Quota, u32)> = None;
    for rate in permit.entry().rates.iter() {
        let quota = rate.quota(permit.roles());
        let left = quota.take(&key(rate.by, permit)).map_err(|wait| rate_limited(rate, quota, wait, is_http))?;
        if tightest.is_none_or(|(.., least)| left < least) {
            tightest = Some((rate, quota, left));
        }
    }
    let left =
        |(rate, quota, calls): (&Rate, &Quota, u32)| Left { policy: quota.policy.clone(), name: rate.name(), calls };
    Ok(Allowance(tightest.filter(|_| is_http).map(left)))
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

fn rate_limited(rate: &Rate, quota: &Quota, wait: Duration, is_http: bool) -> Fault {
    let (Quota { requests, per, role, .. }, by) = (quota, rate.name());
    let plan = role.as_ref().map(|role| format!(" with the role `{role}`")).unwrap_or_default();
    let message = format!("the limit of {requests} requests in {per:?} for each {by}{plan} is used up");
    let fault = Fault::retry(Component::Gateway, Reason::RateLimited, message, wait);
    if is_http { fault.header(POLICY, quota.policy.clone()) } else { fault }
}
