//! A plan: how reads of one method are answered, compiled from what its contract says.

mod answer_version;
mod tag_template;

use std::time::Duration;

use accord_api::accord::cache::v1 as api;
use accord_api::accord::fault::v1::Reason;
use accord_api::accord::policy::v1::{self as api_policy, Cache, CacheScope, Criticality, Retry, near::Promise};
use accord_contract::limits::{
    DEFAULT_CACHE_MAX_BYTES, HEADERS_OF_ONE_MESSAGE, MAX_ATTEMPTS, MAX_HEADER_NAME, MAX_HEADER_NAMES,
};
use accord_readthrough::{Failure, LeaseHolder, LeaseRequest, Policy, Tag};
use accord_runtime::fault::StatusBuilder;
use accord_upstream::{Retries, TimedMethod, metadata};
use accord_wire::{Malformed, Template};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName};
use tonic::{Code, Status};

use answer_version::AnswerVersion;

use crate::load_times::LoadTimes;
use crate::malformed::{bounded, duration, malformed};
use crate::origin_failure::failure_of;

/// SHA-256 of a plan's encoding.
pub type Digest = [u8; 32];

/// Most tags and parts of tags: far more than anybody means.
const MOST_PARTS: usize = 1024;

/// How reads of one method are answered.
#[derive(Debug)]
pub struct Plan {
    /// Its name.
    pub digest: Digest,
    /// The method, `pkg.Service/Method`.
    pub method: Box<str>,
    /// The same as a path.
    pub path: PathAndQuery,
    /// The name of its upstream, which is the passport's audience.
    pub upstream: Box<str>,
    /// The version of it that is asked; empty where it is its own endpoints.
    pub version: Box<str>,
    /// What the contract allows.
    pub policy: Policy,
    /// Whether all principals of a tenant share an answer.
    pub is_shared: bool,
    /// How often a load may be tried, with what is left for it: it lives as long as the plan.
    pub retries: Option<Retries>,
    /// Which loads are shed first.
    pub criticality: Criticality,
    /// As what the upstream knows how long loads take.
    pub timed: TimedMethod,
    /// The largest answer in bytes.
    pub max_response_bytes: u64,
    /// The time of a load that nobody waits for.
    pub load_timeout: Duration,
    /// How long its loads take, as long as it is remembered.
    pub load_times: LoadTimes,
    soft_timeout: Option<Duration>,
    /// How long gateways may answer from their own memory.
    near: Option<Near>,
    /// Metadata that is kept with an answer.
    pub keep_headers: Vec<HeaderName>,
    /// Headers of the caller that enter the key and go to the upstream.
    pub vary: Vec<HeaderName>,
    tags: Vec<Template>,
    answer_version: Option<AnswerVersion>,
}

/// How long gateways may answer from their own memory.
#[derive(Clone, Copy, Debug)]
struct Near {
    duration: Duration,
    is_bounded: bool,
}

impl Plan {
    /// Compiles a plan. What is refused is the fault of whoever sent it.
    pub fn compile(digest: Digest, declared: api::Plan) -> Result<Self, Status> {
        let cache = declared.cache.as_ref().ok_or_else(|| malformed("`plan.cache` is missing"))?;
        if declared.upstream.is_empty() {
            return Err(malformed("`plan.upstream` is missing"));
        }
        if declared.max_response_bytes == 0 {
            return Err(malformed("`plan.max_response_bytes` is 0, so no answer could ever be taken"));
        }
        let parts = declared.tags.iter().map(|tag| tag.parts.len().max(1)).sum();
        bounded("plan.tags", parts, MOST_PARTS)?;
        Ok(Self {
            digest,
            path: path(&declared.method)?,
            policy: policy(cache)?,
            is_shared: cache.scope() == CacheScope::Shared,
            retries: declared.retry.as_ref().map(retries).transpose()?,
            criticality: declared.criticality(),
            timed: TimedMethod::new(&declared.method),
            max_response_bytes: declared.max_response_bytes,
            load_timeout: positive("plan.load_timeout", declared.load_timeout.as_ref())?,
            load_times: LoadTimes::default(),
            soft_timeout: cache
                .soft_timeout
                .map(|soft| duration("plan.cache.soft_timeout", Some(&soft)))
                .transpose()?,
            near: cache.near.as_ref().map(near).transpose()?,
            keep_headers: names("plan.cache.keep_headers", &cache.keep_headers)?,
            vary: names("plan.cache.vary", &cache.vary)?,
            tags: declared.tags.into_iter().map(tag_template::compile).collect::<Result<_, _>>()?,
            answer_version: AnswerVersion::compile(declared.version_field, &cache.version_header)?,
            method: declared.method.into(),
            upstream: declared.upstream.into(),
            version: declared.version.into(),
        })
    }

    /// How long a reader waits for a load where a stale answer may serve instead; nothing where nobody knows yet.
    pub fn soft_timeout(&self) -> Option<Duration> {
        self.soft_timeout.or_else(|| self.load_times.usual())
    }

    /// What a reader is told for whom no load is started, because it has less time than half of the loads take.
    pub fn too_late(&self, left: Duration) -> Option<Failure> {
        let median = self.load_times.median().filter(|median| left < *median)?;
        let (upstream, median_ms) = (&self.upstream, median.as_millis());
        let problem = format!(
            "{upstream} was not asked: its answers take {median_ms} ms in the median, and the call has {} ms left; give it a \
             longer timeout",
            left.as_millis()
        );
        // Somebody with more time may have had it loaded by then.
        Some(failure_of(&StatusBuilder::new(Reason::DeadlineTooShort, problem).retry_after(median).build()))
    }

    /// The lease that a gateway may have; none where its contract declares no near cache.
    pub fn lease(&self, holder: LeaseHolder) -> Option<LeaseRequest> {
        self.near.map(|Near { duration, is_bounded }| LeaseRequest { holder, duration, is_bounded })
    }

    /// The tags whose fields are all in the request.
    pub fn request_tags(&self, request: &[u8]) -> Result<Vec<Tag>, Malformed> {
        self.expand(request, None).collect()
    }

    /// The tags with a field of the answer.
    pub fn answer_tags(&self, request: &[u8], answer: &[u8]) -> Result<Vec<Tag>, Malformed> {
        self.expand(request, Some(answer)).collect()
    }

    /// The version of an answer, where its contract names one.
    pub fn version_of(&self, answer: &[u8], head: &HeaderMap, trailers: &HeaderMap) -> Result<Option<u64>, Malformed> {
        self.answer_version.as_ref().map(|version| version.read(answer, [head, trailers])).transpose()
    }

    /// Whether some tags have a field of the answer.
    pub fn has_answer_tags(&self) -> bool {
        self.tags.iter().any(Template::is_over_answer)
    }

    fn expand<'a>(
        &'a self,
        request: &'a [u8],
        answer: Option<&'a [u8]>,
    ) -> impl Iterator<Item = Result<Tag, Malformed>> {
        let templates = self.tags.iter().filter(move |template| template.is_over_answer() == answer.is_some());
        templates
            .filter_map(move |template| template.expand(request, answer).transpose())
            .map(|tag| Ok(Tag::named(&tag?)))
    }
}

fn path(method: &str) -> Result<PathAndQuery, Status> {
    method_path(method).ok_or_else(|| malformed("`plan.method` is not of the form pkg.Service/Method"))
}

/// The path of a method of the form `pkg.Service/Method`.
pub(crate) fn method_path(method: &str) -> Option<PathAndQuery> {
    let named = method.split_once('/').filter(|(service, name)| {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte));
        !service.is_empty() && !name.is_empty() && plain(service) && plain(name)
    });
    named.and_then(|_| PathAndQuery::try_from(format!("/{method}")).ok())
}

fn policy(declared: &Cache) -> Result<Policy, Status> {
    let (revalidate, error) = (declared.stale_while_revalidate.as_ref(), declared.stale_if_error.as_ref());
    Ok(Policy {
        ttl: duration("plan.cache.ttl", declared.ttl.as_ref())?,
        stale_while_revalidate: duration("plan.cache.stale_while_revalidate", revalidate)?,
        stale_if_error: duration("plan.cache.stale_if_error", error)?,
        negative_ttl: duration("plan.cache.negative_ttl", declared.negative_ttl.as_ref())?,
        max_bytes: declared.max_bytes.unwrap_or(DEFAULT_CACHE_MAX_BYTES),
    })
}

fn near(declared: &api_policy::Near) -> Result<Near, Status> {
    let (declared, is_bounded) = match &declared.promise {
        Some(Promise::Lease(lease)) => (lease, false),
        Some(Promise::Bounded(bounded)) => (bounded, true),
        None => return Err(malformed("`plan.cache.near` says neither `lease` nor `bounded`")),
    };
    Ok(Near { duration: positive("plan.cache.near", Some(declared))?, is_bounded })
}

fn retries(declared: &Retry) -> Result<Retries, Status> {
    if !MAX_ATTEMPTS.contains(&declared.max_attempts) {
        return Err(malformed("`plan.retry.max_attempts` is not between 2 and 5"));
    }
    if declared.on.contains(&0) {
        return Err(malformed("`plan.retry.on` holds a code that says nothing"));
    }
    let on: Vec<_> = declared.on.iter().map(|code| Code::from_i32(*code)).collect();
    let (hedge_after, attempt_timeout) = (declared.hedge_after.as_ref(), declared.attempt_timeout.as_ref());
    Ok(Retries {
        max_attempts: declared.max_attempts,
        on: if on.is_empty() { [Code::Unavailable].into() } else { on.into() },
        hedge_after: hedge_after.map(|after| positive("plan.retry.hedge_after", Some(after))).transpose()?,
        attempt_timeout: attempt_timeout
            .map(|timeout| positive("plan.retry.attempt_timeout", Some(timeout)))
            .transpose()?,
        budget: std::sync::Arc::default(),
    })
}

fn positive(field: &str, value: Option<&prost_types::Duration>) -> Result<Duration, Status> {
    let duration = duration(field, value)?;
    if duration.is_zero() { Err(malformed(format!("`{field}` is missing or 0"))) } else { Ok(duration) }
}

/// The contract says what may be named, and is asked before. Here it must only not be what the cache or HTTP itself says.
fn names(field: &str, declared: &[String]) -> Result<Vec<HeaderName>, Status> {
    bounded(field, declared.len(), MAX_HEADER_NAMES)?;
    let name = |name: &String| {
        let known = HeaderName::from_lowercase(name.as_bytes()).ok().filter(|_| name.len() <= MAX_HEADER_NAME);
        let is_taken = |name: &str| name.starts_with("grpc-") || HEADERS_OF_ONE_MESSAGE.contains(&name);
        let free = known.filter(|name| !metadata::is_reserved(name) && !is_taken(name.as_str()));
        free.ok_or_else(|| malformed(format!("`{field}` names {name:?}, which is no header that can be kept or sent")))
    };
    declared.iter().map(name).collect()
}

#[cfg(test)]
mod tests;
