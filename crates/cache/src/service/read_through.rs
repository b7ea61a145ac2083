//! Reads: keyed by whose they are, and answered by the engine.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use accord_api::accord::cache::v1::{
    self as api, ReadRequest, ReadResponse, read_response::Result as ReadResult,
    read_through_service_server::ReadThroughService,
};
use accord_api::accord::fault::v1::Reason;
use accord_readthrough::{
    Answer, Audience, ConsistencyRequirement, Failure, Identity, InvalidationLog, Key, LeaseHolder, Opened, Origin,
    Overload, Read, Replica, Required, Stale, StartFloor, Store, TokenScope, World,
};
use accord_runtime::current_call::CurrentCall;
use accord_runtime::deadline::Deadline;
use accord_runtime::fair_share::Holder;
use accord_runtime::fault;
use accord_runtime::request::{self, RequestId};
use accord_token::PASSPORT_HEADER;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::answer_metadata::AnswerMetadata;
use crate::checker::Checker;
use crate::consistency_tokens::{ConsistencyTokens, patience};
use crate::load_span::link;
use crate::malformed::{bounded, malformed};
use crate::origin::{MethodCall, OriginCall};
use crate::origin_failure::failure_of;
use crate::passport::{Owner, Passports};
use crate::plan::Plan;
use crate::plans::Plans;
use crate::service::{consistency, outcome, overloaded};
use crate::upstreams::Upstreams;

/// How long before the end of a reader's wait budget a stale answer is served for one that does not come.
const LAST_MOMENT: Duration = Duration::from_millis(100);

/// Most headers of a read: far more than anybody means.
const MOST_HEADERS: usize = 1024;

/// The read-through service.
#[derive(Debug)]
pub(crate) struct ReadThrough<L, O, S, W, P> {
    /// Answers, as far as it may by its log.
    pub replica: Replica<L, O, S, W>,
    /// What is passed with reads, and goes back with answers.
    pub tokens: ConsistencyTokens,
    /// What contracts say.
    pub plans: Plans,
    /// Where answers are loaded from.
    pub upstreams: Upstreams,
    /// Says whose answers are read.
    pub passports: P,
    /// The name of this replica.
    pub node: String,
    /// Compares some hits with their origin.
    pub checker: Checker,
}

#[tonic::async_trait]
impl<L, O, S, W, P> ReadThroughService for ReadThrough<L, O, S, W, P>
where
    L: InvalidationLog,
    O: Origin<Call = OriginCall>,
    S: Store,
    W: World,
    P: Passports,
{
    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadResponse>, Status> {
        let terms = Terms::of(&request)?;
        let (metadata, _, message) = request.into_parts();
        let Some(plan) = self.plans.find(&message.plan_digest, &message.plan)? else {
            return Ok(Response::new(self.signed(plan_unknown())));
        };
        let (passport, soft) = (passport(&metadata)?, plan.soft_timeout());
        let (only_if_cached, passed) = consistency::passed(message.consistency.as_ref());
        let deadline = terms.deadline;
        let (read, owner) = self.compile(message, plan, passport, terms)?;
        let (tenant, subject) = owner.as_ref().map_or(("", ""), |owner| (&*owner.tenant, &*owner.subject));
        let scope = TokenScope { namespace: "", tenant };
        self.tokens.count(read.consistency, !passed.is_empty());
        let required = self.require(&self.tokens.open(&passed, scope)?, &read).await;
        // Who requires the origin's own word forces a load without a token as well.
        if required.is_unjudged && !only_if_cached && read.consistency != ConsistencyRequirement::Strong {
            let turn = self.tokens.forced_loads().turn(&read.key, subject, deadline.remaining()).await;
            if let Err(refused) = turn {
                return Ok(Response::new(self.signed(not_begun(&refused))));
            }
        }
        let read = Read { floor: required.floor, wait_budget: deadline.remaining(), ..read };
        let answer = if only_if_cached {
            self.replica.engine().stored(&read)
        } else {
            let answer = self.answer(&read, soft).await.map_err(overloaded)?;
            self.check(&read, &answer);
            link(answer.trace);
            Some(answer)
        };
        let response = answer.map(|answer| {
            let consistency_token = self.tokens.of_answer(&required, &answer.span, scope);
            ReadResponse { consistency_token, ..respond(answer, self.node.clone()) }
        });
        Ok(Response::new(self.signed(response.unwrap_or_else(not_stored))))
    }
}

impl<L: InvalidationLog, O: Origin<Call = OriginCall>, S: Store, W: World, P: Passports> ReadThrough<L, O, S, W, P> {
    /// What the tokens of a read ask. Where one names more of the log than is read, that is waited for, but not long: a load meets
    /// them all.
    async fn require(&self, tokens: &[Opened], read: &Read<OriginCall>) -> Required {
        let is_caught_up = self.replica.is_behind(tokens)
            && tokio::time::timeout(patience(read.wait_budget), self.replica.catch_up()).await.is_ok();
        self.replica.require(tokens, &read.key, is_caught_up)
    }

    /// What the engine says; or, where the origin keeps the reader waiting for longer than it usually does, an older answer that
    /// the contract permits as stale-if-error. It is looked for again when the wait budget is nearly spent: at the very end of
    /// its time no answer would reach the reader any more.
    async fn answer(&self, read: &Read<OriginCall>, soft: Option<Duration>) -> Result<Answer, Overload> {
        let (mut reading, begun) = (pin!(self.replica.engine().read(read)), Instant::now());
        let most = read.wait_budget.saturating_sub(LAST_MOMENT.min(read.wait_budget / 2));
        for patience in soft.into_iter().filter(|soft| *soft < most).chain([most]) {
            if let Ok(answer) = tokio::time::timeout_at(begun + patience, &mut reading).await {
                return answer;
            }
            if let Some(answer) = self.replica.engine().stale_if_error(read) {
                return Ok(answer);
            }
        }
        reading.await
    }

    /// Compares the answer with the origin behind its reader, if it is one of those that are to be.
    fn check(&self, read: &Read<OriginCall>, answer: &Answer) {
        let OriginCall::Method(call) = &read.call else { return };
        if let Some(comparison) = self.checker.check(self.replica.engine(), read, answer, &call.plan.method) {
            tokio::spawn(comparison);
        }
    }

    fn compile(
        &self,
        message: ReadRequest,
        plan: Arc<Plan>,
        passport: Option<HeaderValue>,
        terms: Terms,
    ) -> Result<(Read<OriginCall>, Option<Owner>), Status> {
        let upstream = self.upstreams.find_version(&plan.upstream, &plan.version)?;
        let owner = self.owner(passport.as_ref(), &plan.upstream)?;
        let headers = headers(&plan, message.headers)?;
        let lease = holder(&message.holder)?.and_then(|holder| plan.lease(holder));
        let left = terms.deadline.remaining();
        let read = Read {
            key: key(&plan, owner.as_ref(), &message.key, &headers),
            policy: plan.policy,
            tags: plan.request_tags(&message.request).map_err(|error| malformed(error.to_string()))?.into(),
            consistency: consistency::requirement(message.consistency.as_ref())?,
            floor: StartFloor::default(),
            wait_budget: left,
            load_timeout: plan.load_timeout,
            too_late: plan.too_late(left),
            call: OriginCall::Method(MethodCall {
                plan,
                upstream,
                request: message.request,
                passport,
                headers,
                holder: owner.as_ref().map(|owner| Holder::principal(&owner.subject, None)),
                is_retried_outside: message.is_retried_outside,
                id: terms.id,
                read: CurrentCall::get(),
            }),
            lease,
        };
        Ok((read, owner))
    }

    /// An answer that says which life of the cache it comes from, or which log: so that gateways know that replicas are one cache.
    fn signed(&self, response: ReadResponse) -> ReadResponse {
        let incarnation = match self.replica.incarnation() {
            0 => Bytes::new(),
            known => Bytes::copy_from_slice(&known.to_be_bytes()),
        };
        ReadResponse { incarnation, ..response }
    }

    /// Whose answer is asked for: the passport says so, and nothing else does.
    fn owner(&self, passport: Option<&HeaderValue>, upstream: &str) -> Result<Option<Owner>, Status> {
        let Some(passport) = passport else { return Ok(None) };
        let text = passport.to_str().map_err(|_| malformed("the passport is not text"))?;
        self.passports.owner(text, upstream).map(Some)
    }
}

/// What travels with a call.
struct Terms {
    /// When its caller leaves.
    deadline: Deadline,
    /// Its id.
    id: RequestId,
}

impl Terms {
    /// As the layers around the services found them.
    fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let deadline = request.extensions().get::<Deadline>().copied();
        let deadline = deadline.ok_or_else(|| Status::internal("the call has no deadline"))?;
        let id = request::id(request.extensions());
        Ok(Self { deadline, id })
    }
}

/// The one passport of a call. Of two, which one counts would be a guess.
fn passport(metadata: &MetadataMap) -> Result<Option<HeaderValue>, Status> {
    let mut passports = metadata.as_ref().get_all(PASSPORT_HEADER).iter();
    let passport = passports.next().cloned();
    if passports.next().is_some() {
        return Err(fault::status(Reason::HeaderRefused, "more than one passport"));
    }
    Ok(passport.map(|mut passport| {
        passport.set_sensitive(true);
        passport
    }))
}

/// Who asks for a lease.
fn holder(bytes: &[u8]) -> Result<Option<LeaseHolder>, Status> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let id = Uuid::from_slice(bytes).map_err(|_| malformed("`holder` is not of 16 bytes"))?;
    Ok(Some(LeaseHolder(id.as_u128())))
}

/// The caller's headers, of which there may only be those that enter the key.
fn headers(plan: &Plan, given: Vec<api::Header>) -> Result<HeaderMap, Status> {
    bounded("headers", given.len(), MOST_HEADERS)?;
    let mut headers = HeaderMap::new();
    for header in given {
        let name = plan.vary.iter().find(|name| name.as_str() == header.name);
        let name = name.ok_or_else(|| malformed("`headers` has one that the plan's `cache.vary` does not name"))?;
        let value = HeaderValue::from_maybe_shared(header.value)
            .map_err(|_| malformed("`headers` has a value that is none"))?;
        headers.append(name.clone(), value);
    }
    Ok(headers)
}

/// The place of an answer. The plan's digest is part of it: what was loaded under the tags of one contract is no answer to a
/// reader of another, whose invalidations it would never see. So is the epoch of a principal whose own answer it is: what an
/// upstream told it while it had other roles is not told it again.
fn key(plan: &Plan, owner: Option<&Owner>, request_key: &[u8], headers: &HeaderMap) -> Key {
    let mut bytes = plan.digest.to_vec();
    put(&mut bytes, request_key);
    if let Some(owner) = owner.filter(|_| !plan.is_shared) {
        put(&mut bytes, &owner.epoch.to_be_bytes());
    }
    for name in &plan.vary {
        for value in headers.get_all(name) {
            put(&mut bytes, name.as_str().as_bytes());
            put(&mut bytes, value.as_bytes());
        }
    }
    Key::of(&Identity {
        method: &plan.method,
        origin: &plan.upstream,
        tenant: owner.map_or("", |owner| &owner.tenant),
        audience: match owner {
            _ if plan.is_shared => Audience::Shared,
            Some(owner) => Audience::Principal(&owner.subject),
            None => Audience::Anonymous,
        },
        bytes: &bytes,
    })
}

/// With its length before it, no part can reach into the next one.
fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
    bytes.extend_from_slice(part);
}

fn plan_unknown() -> ReadResponse {
    ReadResponse { result: Some(ReadResult::PlanUnknown(api::PlanUnknown {})), ..ReadResponse::default() }
}

fn not_stored() -> ReadResponse {
    ReadResponse { result: Some(ReadResult::NotStored(api::NotStored {})), ..ReadResponse::default() }
}

/// A failure of the mesh's own, for which no gateway asks the upstream in the cache's place.
fn not_begun(status: &Status) -> ReadResponse {
    let Failure { code, message, details, .. } = failure_of(status);
    let result = ReadResult::Failure(api::Failure { code, message, details, is_fault: true });
    ReadResponse { result: Some(result), ..ReadResponse::default() }
}

fn respond(answer: Answer, node: String) -> ReadResponse {
    let metadata = AnswerMetadata::decode(&answer.metadata);
    let freshness = api::Freshness {
        outcome: outcome(answer.outcome).into(),
        age: prost_types::Duration::try_from(answer.age).ok(),
        ttl: Some(remaining(answer.lifetime, answer.age)),
        stored: answer.stored,
        collapsed: answer.collapsed,
        stale_reason: stale_reason(answer.stale).into(),
        node,
        version: answer.version,
        from_second_level: answer.is_shared,
    };
    let lease = answer.lease.map(|granted| api::Lease {
        duration: prost_types::Duration::try_from(granted.duration).ok(),
        tags: granted.tags.iter().map(|tag| tag.to_bits()).collect(),
    });
    let result = match answer.load {
        Ok(message) => ReadResult::Message(message),
        Err(failure) => ReadResult::Failure(api::Failure {
            code: failure.code,
            message: failure.message,
            details: failure.details,
            is_fault: !metadata.is_of_handler,
        }),
    };
    ReadResponse {
        result: Some(result),
        freshness: Some(freshness),
        head: metadata.head,
        trailers: metadata.trailers,
        is_trailers_only: metadata.is_trailers_only,
        lease,
        ..ReadResponse::default()
    }
}

/// What is left of a lifetime; negative where it is over.
fn remaining(lifetime: Duration, age: Duration) -> prost_types::Duration {
    let distance = prost_types::Duration::try_from(lifetime.abs_diff(age)).unwrap_or_default();
    if lifetime >= age {
        return distance;
    }
    prost_types::Duration { seconds: -distance.seconds, nanos: -distance.nanos }
}

fn stale_reason(stale: Option<Stale>) -> api::StaleReason {
    match stale {
        None => api::StaleReason::Unspecified,
        Some(Stale::Revalidating) => api::StaleReason::Revalidating,
        Some(Stale::OriginFailed) => api::StaleReason::OriginFailed,
        Some(Stale::OlderVersion) => api::StaleReason::OlderVersion,
        Some(Stale::OriginTooSlow) => api::StaleReason::OriginTooSlow,
    }
}
