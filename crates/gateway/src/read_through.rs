//! A cached method: read through the cache service, which calls the upstream itself on a miss.

mod cache_status;
mod failure;
mod owner;

use crate::{
    cache_headers,
    consistency_token::{CONSISTENCY_TOKEN, UNKNOWN, header_value},
    declared_metrics::CACHE_BYPASSED,
    fault::{Component, Fault},
    internal_call,
    invalidate::Invalidator,
    near::{CACHE_STATUS, NearCache, Place},
    protocol::{CacheControl, Consistency, Keep, Reply},
    table::CachePlan,
    upstream::{self, Answer, Call},
};
use accord_api::accord::{
    cache::v1::{
        self as cache, ReadRequest, ReadResponse, consistency::Requirement, read_response,
        read_through_service_client::ReadThroughServiceClient,
    },
    fault::v1::Reason,
};
use accord_contract::{CachePolicy, OnCacheFailure};
use accord_mesh::MeshClient;
use accord_runtime::fault;
use accord_token::PASSPORT_HEADER;
use accord_upstream::{Owners, Upstream};
use accord_wire::Malformed;
use bytes::Bytes;
use cache_status::{add_freshness, add_near, outcome_name};
use failure::{is_down, is_refusal, not_of_the_cache, upstream_fault};
use http::{HeaderValue, StatusCode};
use opentelemetry::{KeyValue, metrics::Counter};
use std::{
    collections::HashSet,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;
use tonic::{Code, Status};

/// Why a read goes past the cache, for the access log and as `Cache-Status` (RFC 9211).
#[derive(Clone, Copy)]
struct Bypass {
    outcome: &'static str,
    status: &'static str,
}

/// When a caller may come back where neither the cache nor the way past it takes a read.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Its caller wants nothing stored.
const REQUEST: Bypass = Bypass { outcome: "request", status: "accord; fwd=request" };
/// The cache does not answer.
const BYPASS: Bypass = Bypass { outcome: "bypass", status: "accord; fwd=bypass" };
/// The cache has no upstream, or no version of one, by this name.
const UPSTREAM_UNKNOWN: Bypass = Bypass { outcome: "bypass", status: "accord; fwd=bypass; detail=upstream-unknown" };

/// The cache service, as the gateway uses it.
pub(crate) struct ReadThrough {
    owners: Owners,
    invalidator: Invalidator,
    near: Arc<NearCache>,
    mesh: MeshClient,
    /// Whether it failed last, which is logged once.
    is_failing: AtomicBool,
    /// The upstreams that the cache does not know, each logged once.
    unknown_upstreams: Mutex<HashSet<Arc<str>>>,
    /// Reads that may go past it at a time.
    bypass_slots: Semaphore,
    bypassed: Counter<u64>,
}

impl ReadThrough {
    /// Reads through the cache that `upstream` is, once `invalidator` has told it of this gateway, as the workload that `mesh` is;
    /// `near` has copies of its answers.
    /// At most `max_bypassed` reads are in flight past it.
    pub(crate) fn new(
        upstream: Arc<Upstream>,
        invalidator: Invalidator,
        near: Arc<NearCache>,
        mesh: MeshClient,
        max_bypassed: usize,
    ) -> Self {
        let bypassed = CACHE_BYPASSED.counter(&accord_runtime::telemetry::meter());
        Self {
            owners: Owners::new(upstream),
            invalidator,
            near,
            mesh,
            is_failing: AtomicBool::new(false),
            unknown_upstreams: Mutex::default(),
            bypass_slots: Semaphore::new(max_bypassed),
            bypassed,
        }
    }

    /// The cache.
    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        self.owners.upstream()
    }

    /// Answers a cached read: through the cache, or past it where the contract allows that. What keeps the answer comes with it.
    pub(crate) async fn read(
        &self,
        call: &Call,
        policy: &CachePolicy,
        plan: &CachePlan,
        message: &Bytes,
        asked: CacheControl,
        place: Option<Place>,
    ) -> Result<Reply, Fault> {
        // What a caller has written or seen is no wish: whatever the contract ignores, it is told nothing older.
        let ignored = || CacheControl { tokens: asked.tokens.clone(), ..CacheControl::default() };
        let mut asked = if policy.ignore_cache_control { ignored() } else { asked };
        let tokens = asked.tokens.decode()?;
        if self.near.are_two() {
            // Neither of two caches can be believed but in what it loads now.
            asked.consistency.get_or_insert(Consistency::Strong);
        }
        if asked.consistency == Some(Consistency::Unstored) && !asked.only_if_cached {
            return self.past(call, message, REQUEST).await;
        }
        let only_if_cached = asked.only_if_cached;
        let consistency = required(&asked, tokens, policy);
        let read = read(call, policy, plan, message, consistency).map_err(|_| Fault::unreadable())?;
        if let Some(failure) = self.not_asked(call).await {
            return self.bypass(call, message, only_if_cached, &failure).await;
        }
        let failure = match upstream::timed(call, "cache", pin!(self.read_by_plan(call, plan, read, place))).await {
            Ok((answered, keep)) => {
                self.is_failing.store(false, Ordering::Relaxed);
                let mut answered = answered.and_then(|answer| call.hold(answer));
                if let (Ok(answer), Some(_)) = (&mut answered, policy.near) {
                    add_near(asked.consistency, &mut answer.head);
                }
                return upstream::give_up(call, answered).map(|answer| Reply::Unary(answer, keep));
            }
            Err(status) => not_of_the_cache(call, status)?,
        };
        self.log_failure(call, &failure);
        self.bypass(call, message, only_if_cached, &failure).await
    }

    /// Why the cache is not asked now, if it is not.
    async fn not_asked(&self, call: &Call) -> Option<Status> {
        if !self.owners.upstream().is_available() {
            return Some(Status::unavailable("the cache failed a moment ago and is not asked again yet"));
        }
        let is_announced = self.invalidator.is_announced(call.deadline).await;
        (!is_announced).then(|| Status::unavailable("the cache does not know yet that this gateway is a new one"))
    }

    /// Logs that the cache fails: once, until it answers again.
    fn log_failure(&self, call: &Call, failure: &Status) {
        let (reason, error) = (fault::reason_or_code(failure), failure.message());
        if fault::reason_of(failure) == Some(Reason::UpstreamUnknown) {
            return self.log_unknown_upstream(call.upstream().name());
        }
        if (is_down(failure) || is_refusal(failure)) && self.is_failing.swap(true, Ordering::Relaxed) {
            return;
        }
        if is_down(failure) {
            tracing::warn!(reason, error, "the cache is down: reads bypass it");
        } else if is_refusal(failure) {
            tracing::error!(
                reason,
                error,
                "the cache refuses this gateway, reads go without it: `cache.url` has to name a cache, and the gateway's \
                 client needs the role `accord-mesh`"
            );
        }
    }

    /// Logs each upstream once.
    fn log_unknown_upstream(&self, upstream: &Arc<str>) {
        // What it holds is whole whenever the lock is free.
        let mut unknown_upstreams = self.unknown_upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        if unknown_upstreams.insert(Arc::clone(upstream)) {
            tracing::warn!(
                %upstream,
                "the cache does not know this upstream, or this version of one, and reads of it go without the cache: give the \
                 cache the same [[upstream]] as the gateway"
            );
        }
    }

    async fn bypass(
        &self,
        call: &Call,
        message: &Bytes,
        only_if_cached: bool,
        failure: &Status,
    ) -> Result<Reply, Fault> {
        if call.deadline.expired() {
            return Err(Fault::deadline(Component::Cache));
        }
        if only_if_cached {
            return Err(not_stored(
                "`only-if-cached`, and the cache does not answer; try again later, or leave `only-if-cached` out",
            ));
        }
        let method = &call.permit.entry().method;
        tracing::debug!(
            method = &*method.name,
            reason = fault::reason_or_code(failure),
            error = failure.message(),
            "cache bypassed"
        );
        self.bypassed.add(1, &[KeyValue::new("rpc.method", Arc::clone(&method.name))]);
        if method.policy.on_cache_failure == OnCacheFailure::Fail {
            let message = "the cache does not answer, and the contract says to fail then; try again later";
            return Err(Fault::retry(Component::Cache, Reason::CacheUnavailable, message, RETRY_AFTER));
        }
        let is_unknown = fault::reason_of(failure) == Some(Reason::UpstreamUnknown);
        self.past(call, message, if is_unknown { UPSTREAM_UNKNOWN } else { BYPASS }).await
    }

    /// Asks the upstream itself, which meets every requirement, and keeps nothing.
    async fn past(&self, call: &Call, message: &Bytes, why: Bypass) -> Result<Reply, Fault> {
        let _slot = self.bypass_slots.try_acquire().map_err(|_| {
            let message = "as many reads are in flight past the cache as may be (`cache.max_bypassed`)";
            Fault::retry(Component::Gateway, Reason::Overloaded, message, RETRY_AFTER)
        })?;
        call.record.set_cache_outcome(why.outcome);
        let mut answer = upstream::unary(call, message).await.result?;
        answer.head.insert(CACHE_STATUS, HeaderValue::from_static(why.status));
        answer.head.insert(CONSISTENCY_TOKEN, UNKNOWN);
        Ok(Reply::Unary(answer, None))
    }

    /// Reads, and says how the answer may be kept. An error is the cache's.
    async fn read_by_plan(
        &self,
        call: &Call,
        plan: &CachePlan,
        read: ReadRequest,
        place: Option<Place>,
    ) -> Result<(Result<Answer, Fault>, Option<Keep>), Status> {
        let holder = place.as_ref().map(|_| Bytes::copy_from_slice(self.near.holder().as_bytes())).unwrap_or_default();
        let left = self.near.begin();
        let response = self.exchange(call, plan, ReadRequest { holder, ..read.clone() }).await?;
        if self.near.saw_two(left, &response.incarnation) {
            let strong = cache::Consistency { requirement: Some(Requirement::Strong(true)), ..Default::default() };
            let loading = self.exchange(call, plan, ReadRequest { consistency: Some(strong), ..read });
            let loaded = Box::pin(loading).await?;
            return Ok((answer(call, loaded)?, None));
        }
        let keep = place.and_then(|place| place.keeper(left, &response));
        Ok((answer(call, response)?, keep))
    }

    /// Asks under the plan's digest, and once more with the plan where the cache does not know it.
    async fn exchange(&self, call: &Call, plan: &CachePlan, read: ReadRequest) -> Result<ReadResponse, Status> {
        let response = self.send(call, read.clone()).await?;
        match response.result {
            Some(read_response::Result::PlanUnknown(_)) => {
                Box::pin(self.send(call, ReadRequest { plan: plan.encoded.clone(), ..read })).await
            }
            _ => Ok(response),
        }
    }

    async fn send(&self, call: &Call, read: ReadRequest) -> Result<ReadResponse, Status> {
        let client = self.owners.client(owner::key_hash(call, &read.key));
        let mut client = ReadThroughServiceClient::new(client).max_decoding_message_size(usize::MAX);
        let request = internal_call::request(read, &self.mesh, call.deadline, &call.id)?;
        let request = internal_call::with_passport(request, call.permit.passport());
        // A cache that is gone or hangs shows at its connection, which is watched closely: so the time that is left need
        // not be shared out between the cache and the upstream.
        Ok(client.read(request).await?.into_inner())
    }
}

fn read(
    call: &Call,
    policy: &CachePolicy,
    plan: &CachePlan,
    message: &Bytes,
    consistency: Option<cache::Consistency>,
) -> Result<ReadRequest, Malformed> {
    Ok(ReadRequest {
        plan_digest: plan.digest.clone(),
        plan: Bytes::new(),
        request: message.clone(),
        key: call.permit.entry().method.cache_key(policy, message)?,
        headers: call.metadata.iter().filter(|(name, _)| *name != PASSPORT_HEADER).map(cache_headers::header).collect(),
        is_retried_outside: call.is_retried_by_caller,
        consistency,
        holder: Bytes::new(),
    })
}

/// What a caller requires beside the contract, if anything.
fn required(asked: &CacheControl, tokens: Vec<Bytes>, policy: &CachePolicy) -> Option<cache::Consistency> {
    if *asked == CacheControl::default() {
        return None;
    }
    let requirement = asked.consistency.map(|consistency| match consistency {
        Consistency::Unstored | Consistency::Strong => Requirement::Strong(true),
        Consistency::Fresh { max_age, min_fresh } => {
            let staleness = max_age.min(min_fresh.map_or(Duration::MAX, |left| old_enough_by(left, policy)));
            let seconds = i64::try_from(staleness.as_secs()).unwrap_or(i64::MAX);
            let nanos = i32::try_from(staleness.subsec_nanos()).unwrap_or_default();
            Requirement::MaxStaleness(prost_types::Duration { seconds, nanos })
        }
    });
    Some(cache::Consistency { requirement, only_if_cached: asked.only_if_cached, at_least_as_fresh: tokens })
}

/// The age up to which any stored answer is fresh for so long yet. It has nine tenths of its declared life at least.
fn old_enough_by(left: Duration, policy: &CachePolicy) -> Duration {
    let shortest = if policy.negative_ttl.is_zero() { policy.ttl } else { policy.ttl.min(policy.negative_ttl) };
    (shortest * 9 / 10).saturating_sub(left)
}

/// The caller wants a stored answer or none: HTTP has a status of its own for it (RFC 9111, 5.2.1.7).
fn not_stored(message: &'static str) -> Fault {
    Fault::new(Component::Cache, Reason::AnswerNotStored, message).http(StatusCode::GATEWAY_TIMEOUT)
}

fn answer(call: &Call, response: ReadResponse) -> Result<Result<Answer, Fault>, Status> {
    let result = match response.result {
        Some(read_response::Result::Message(message)) => Ok(message),
        Some(read_response::Result::Failure(failure)) => {
            let code = Code::from_i32(failure.code);
            let status = Status::with_details(code, failure.message, failure.details);
            if failure.is_fault {
                return Ok(Err(upstream_fault(status)));
            }
            Err(status)
        }
        Some(read_response::Result::NotStored(_)) => {
            call.record.set_cache_outcome("not-stored");
            return Ok(Err(not_stored(
                "nothing is stored that answers this call; leave `only-if-cached` out to have it loaded",
            )));
        }
        Some(read_response::Result::PlanUnknown(_)) => {
            return Err(Status::internal("the cache does not know the plan that it was sent"));
        }
        None => return Err(Status::internal("the cache's answer holds nothing")),
    };
    let mut head = cache_headers::metadata(&response.head)?;
    if let Some(freshness) = response.freshness {
        call.record.set_cache_outcome(outcome_name(freshness.outcome()));
        add_freshness(&freshness, &mut head);
    }
    head.insert(CONSISTENCY_TOKEN, header_value(&response.consistency_token));
    let trailers = cache_headers::metadata(&response.trailers)?;
    Ok(Ok(Answer { head, result, trailers, is_trailers_only: response.is_trailers_only, held: None }))
}

#[cfg(test)]
mod tests;
