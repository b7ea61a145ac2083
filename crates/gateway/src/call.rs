//! The way of a request, as one function.

use crate::{
    admit::{self, Arrival, ListenerKind, admit},
    authenticate::{authenticate, exchanged_token, holder},
    authorize::authorize,
    call_samples::CallSamples,
    concurrency_limit::{ConcurrencyLimit, InFlightSlot},
    etag,
    explain_call::Explanation,
    fault::Fault,
    forgery_limit::ForgeryLimiter,
    idempotency::{self, IdempotencyRecord, IdempotencyRecords},
    invalidate::{Invalidator, PendingInvalidation},
    live::LiveSettings,
    memory::{CallMemory, HeldBytes, MemoryBudget},
    message::{self, RequestBody},
    near::{self, Lookup, NearCache, Place},
    protocol::{
        BodyMode, Compression, PassedBody, Reply, RequestFrames, RequestOptions, RouteMatch, WireProtocol, compressed,
    },
    rate_limit::{SharedLimits, rate_limit},
    read_through::ReadThrough,
    resource,
    revocation::Withdrawal,
    stream_limits::{self, StreamLimits, StreamState},
    table::Tables,
    upstream::{self, Answer, Call, Outcome},
};
use accord_mesh::{MeshClient, RevocableBody};
use accord_runtime::{
    call_record::{CallRecord, WaitsFor},
    current_call::CurrentCall,
    deadline::{self, Deadline, DeadlineBody, Elapsed},
    fair_share::Held,
    holding_body::HoldingBody,
    write_deadline::write_by,
};
use accord_upstream::{ResponseBody, Upstream, grpc};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use hyper::body::Incoming;
use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use tonic::body::Body;

/// Says that callers should leave the method, since its contract has it as `deprecated` (RFC 9745). That tells no date, so the first
/// of all stands here; an upstream that knows one says it itself.
const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SOME_TIME_AGO: HeaderValue = HeaderValue::from_static("@0");

/// The least time that calls have to end once their connections have been cut.
const CUT_OFF_GRACE: Duration = Duration::from_millis(500);

/// Everything that a request meets on its way.
pub(crate) struct Gateway {
    /// What the configuration may say otherwise while calls are served.
    pub live: LiveSettings,
    /// Which answers are compressed.
    pub compression: Compression,
    /// Recent calls, for the console.
    pub samples: Arc<CallSamples>,
    /// The contract in force.
    pub tables: Arc<Tables>,
    /// How many calls may be in flight.
    pub concurrency_limit: ConcurrencyLimit,
    /// How many bytes may be in memory for them.
    pub memory: MemoryBudget,
    /// Who verifies tokens and decides what they permit.
    pub mesh: MeshClient,
    /// How many tokens that nobody signed are looked at.
    pub forgeries: ForgeryLimiter,
    /// Where rate limits are counted for all gateways together.
    pub shared_limits: Option<SharedLimits>,
    /// What of their answers is in the gateway's own memory.
    pub near: Option<Arc<NearCache>>,
    /// The cache, once for each kind of calls.
    pub caches: Vec<Arc<Upstream>>,
    /// Where cached methods are answered from.
    pub read_through: Option<ReadThrough>,
    /// How mutations invalidate what was cached.
    pub invalidator: Option<Invalidator>,
    /// The answers of earlier calls under the same idempotency key.
    pub idempotency: Option<IdempotencyRecords>,
}

impl Gateway {
    /// Waits for what goes on without a caller, until `end` at the latest: calls under an idempotency key, then invalidations.
    pub(crate) async fn finish(&self, end: Deadline) {
        // The calls of connections that were cut are cancelled in a moment, and invalidate then what they may have changed.
        let end = end.at().max(Deadline::after(CUT_OFF_GRACE).at());
        let is_idle = tokio::time::timeout_at(end, self.concurrency_limit.idle()).await.is_ok();
        if !is_idle {
            tracing::warn!("calls that were still in flight were cut off: raise `grace` if they should end");
        }
        if let Some(invalidator) = &self.invalidator {
            invalidator.finish(is_idle).await;
        }
    }
}

/// An answer, which holds the slot of its call until its last byte; a refusal has none.
pub(crate) type AnswerBody = HoldingBody<Body, Option<Arc<InFlightSlot>>>;

/// The way of a request, from its arrival to its answer.
///
/// The order is part of the contract: nothing is asked of auth for a method that does not exist, nothing is counted
/// against a limit before it is known whose call it is, and nothing inward sees a call that has no permit. It is the same for
/// both listeners: they differ in what is admitted, and so in who can be authenticated.
pub(crate) async fn travel(
    gateway: &Arc<Gateway>,
    listener: ListenerKind,
    protocol: WireProtocol,
    request: Request<Incoming>,
    explanation: &mut Explanation,
) -> Result<Response<AnswerBody>, Fault> {
    let (mut arrival, body) = admit(listener, protocol, gateway.live.trusted_hops(), &gateway.live.cors, request)?;
    let route = protocol.find(&gateway.tables.load(), &arrival.parts)?;
    arrival.record.set_method(Arc::clone(&route.entry.series));
    let policy = &route.entry.method.policy;
    let deadline = admit::deadline(&policy.deadline, &arrival)?;
    let is_deprecated = route.entry.method.deprecated;
    let (slots, criticality) = (&gateway.concurrency_limit, arrival.criticality(policy.criticality));
    let exchanged = exchanged_token(&gateway.mesh, slots, policy, &arrival, deadline).await?;
    let identity = authenticate(&gateway.mesh, &gateway.forgeries, &policy.access, &arrival, exchanged.as_ref())?;
    // From here on something may be waited for. Whose call it is and how important its method says who is shed first.
    let holder = holder(&arrival, identity.as_ref());
    let slot = Arc::new(slots.acquire(criticality, holder)?);
    let memory = CallMemory::new(&gateway.memory, holder);
    let explainer = (&gateway.mesh, gateway.live.explains());
    explanation.begin(explainer, &route, identity.as_ref(), &arrival, deadline).await?;
    let (resource, body) = resource(&route, &arrival, body, &memory, deadline).await?;
    explanation.resource(resource.as_deref());
    let permit = authorize(&gateway.mesh, &route.entry, identity, resource.as_deref(), &arrival, deadline).await?;
    explanation.permitted(&permit);
    let allowance = rate_limit(gateway.shared_limits.as_ref(), protocol, &permit, deadline, explanation).await?;
    let call = Call::new(permit, Arc::clone(&slot), memory, deadline, &mut arrival, route.mode);
    if explanation.is_dry_run() {
        return Err(Box::pin(dry_run(gateway, &call, &route, arrival, body, explanation)).await);
    }
    let record = arrival.record.clone();
    let answered = within(deadline, &record, pin!(answer(gateway, call, route, arrival, body))).await;
    let mut response = answered.map_err(|fault| allowance.on(fault))?;
    allowance.add_headers(response.headers_mut());
    if is_deprecated {
        response.headers_mut().entry(DEPRECATION).or_insert(SOME_TIME_AGO);
    }
    // The connection cuts a caller that has not read the answer by then, so that nobody holds a slot by not reading.
    write_by(deadline);
    Ok(response.map(|body| HoldingBody::new(body, Some(slot))))
}

/// The object that access is decided about, where the contract says one, and the body: untouched where it says none.
async fn resource(
    route: &RouteMatch,
    arrival: &Arrival,
    body: Incoming,
    memory: &CallMemory,
    deadline: Deadline,
) -> Result<(Option<String>, RequestBody), Fault> {
    let Some(declared) = &route.entry.method.policy.resource else { return Ok((None, RequestBody::Incoming(body))) };
    // In a place of its own: other calls have no use for the room that this takes.
    let mut read = Box::pin(resource::read(declared, route, arrival, body, memory));
    let (resource, body) = within(deadline, &arrival.record, read.as_mut()).await?;
    Ok((Some(resource), body))
}

/// Dropping what is not done in time is what cancels it upstream. What is over before it begins is not begun. The work is pinned
/// where it is made, since it is large and would be moved more than once.
async fn within<T>(
    deadline: Deadline,
    record: &CallRecord,
    work: Pin<&mut impl Future<Output = Result<T, Fault>>>,
) -> Result<T, Fault> {
    if deadline.expired() {
        return Err(Fault::late(record));
    }
    deadline::within(deadline, work).await.unwrap_or_else(|Elapsed| Err(Fault::late(record)))
}

/// The way inward and back, by what of the body has to be looked at.
async fn answer(
    gateway: &Arc<Gateway>,
    call: Call,
    route: RouteMatch,
    arrival: Arrival,
    body: RequestBody,
) -> Result<Response<Body>, Fault> {
    let Arrival { options, parts, .. } = arrival;
    let memory = call.memory.clone();
    let reply = match route.mode {
        BodyMode::PassThrough => {
            let RequestBody::Incoming(body) = body else { return Err(Fault::unreadable()) };
            let frames = route.frames(PassedBody::new(body, parts.version), &memory);
            Reply::Stream(pass_through(gateway, &call, frames).await?)
        }
        BodyMode::Unary => {
            match near::look_up(gateway.near.as_ref(), &call, &route, &parts, body, &options.cache_control).await? {
                Lookup::Hit(written) => return represent(gateway, &route, &parts, written, &memory).await,
                Lookup::Miss(message, place) => unary(gateway, call, message, options, place).await?,
            }
        }
        BodyMode::ServerStream => {
            let message = message::read(&route, &parts, body, &call).await?;
            Reply::Stream(stream(gateway, &call, &message.bytes).await?)
        }
    };
    let written = route.respond(reply, &memory).await?;
    represent(gateway, &route, &parts, written, &memory).await
}

/// The answer as its caller reads it: compressed where they accept that, or only that it is still what they have. It says what it
/// varies by.
async fn represent(
    gateway: &Gateway,
    route: &RouteMatch,
    parts: &Parts,
    mut written: Response<Body>,
    memory: &CallMemory,
) -> Result<Response<Body>, Fault> {
    if let Some(names) = route.varies_by(parts) {
        written.headers_mut().append(header::VARY, names.clone());
    }
    let coding = gateway.compression.negotiate(route.coding(), &mut written);
    let response = etag::unless_known(written, parts);
    match coding.filter(|_| response.status() != StatusCode::NOT_MODIFIED) {
        None => Ok(response),
        // In a place of its own: an answer as it stands has no use for the room that this takes.
        Some(coding) => Box::pin(compressed(response, coding, memory)).await,
    }
}

/// The way inward of a call that is only tried: all that may refuse it, up to whatever would act. The fault says how it ended.
async fn dry_run(
    gateway: &Gateway,
    call: &Call,
    route: &RouteMatch,
    arrival: Arrival,
    body: RequestBody,
    explanation: &mut Explanation,
) -> Fault {
    let Arrival { options, parts, .. } = arrival;
    let tried = async {
        if route.mode == BodyMode::PassThrough {
            return Ok("upstream");
        }
        message::read(route, &parts, body, call).await?;
        let policy = call.policy();
        let is_cached = gateway.read_through.is_some() && policy.cache.is_some();
        let key = policy.idempotency.as_ref().map(|declared| idempotency::key(declared, options.idempotency_key));
        match (route.mode, key.transpose()?.flatten()) {
            (BodyMode::Unary, _) if is_cached => Ok("cache"),
            (BodyMode::Unary, Some(_)) => Ok("idempotency"),
            _ => Ok("upstream"),
        }
    };
    match within(call.deadline, &call.record, pin!(tried)).await {
        Ok(next) => explanation.end_dry_run(next),
        Err(fault) => fault,
    }
}

/// Frames in, frames out: only the limits are enforced.
async fn pass_through(gateway: &Gateway, call: &Call, body: RequestFrames) -> Result<Response<Body>, Fault> {
    let windows = call.windows()?;
    let state = Arc::new(StreamState::of(&call.permit.entry().method));
    let mut withdrawal = Withdrawal::watch(&gateway.mesh, &call.permit);
    let limits = StreamLimits::of_request(call.policy()).of_encoding(call.metadata.get("grpc-encoding"));
    let body = stream_limits::request(body, limits, &call.record, Arc::clone(&state));
    let response = withdrawal.hold(pin!(state.hold(pin!(upstream::stream(call, body, &state))))).await?;
    Ok(limited(call, response, state, withdrawal, windows))
}

/// One message in, a stream of them out.
async fn stream(gateway: &Gateway, call: &Call, message: &Bytes) -> Result<Response<Body>, Fault> {
    let windows = call.windows()?;
    let state = Arc::new(StreamState::of(&call.permit.entry().method));
    let mut withdrawal = Withdrawal::watch(&gateway.mesh, &call.permit);
    let request = Full::new(grpc::frame(message));
    let response = withdrawal.hold(pin!(state.hold(pin!(upstream::stream(call, request, &state))))).await?;
    Ok(limited(call, response, state, withdrawal, windows))
}

/// An answer that ends at the limits of its method, at the deadline of its call, and with the credentials of its caller.
fn limited(
    call: &Call,
    response: Response<ResponseBody>,
    state: Arc<StreamState>,
    withdrawal: Withdrawal,
    windows: Held,
) -> Response<Body> {
    let method = &call.permit.entry().method;
    let limits = StreamLimits::of_response(method);
    let response = stream_limits::response(response, &method.upstream, limits, call.deadline, state);
    let ended = withdrawal.map(|fault| fault.status().clone());
    let revocable = response.map(|body| RevocableBody::new(body, ended));
    revocable.map(|body| Body::new(HoldingBody::new(DeadlineBody::new(body, call.deadline), windows)))
}

/// One message in, one out: from the cache, under an idempotency key, or from the upstream.
async fn unary(
    gateway: &Arc<Gateway>,
    call: Call,
    message: HeldBytes,
    options: RequestOptions,
    place: Option<Place>,
) -> Result<Reply, Fault> {
    let entry = call.permit.entry();
    let policy = &entry.method.policy;
    let plan = entry.cache_plan(call.version);
    if let (Some(read_through), Some(declared), Some(plan)) = (&gateway.read_through, &policy.cache, plan) {
        // In a place of its own: an answer from the gateway's own memory has no use for the room that this takes.
        let read = read_through.read(&call, declared, plan, &message.bytes, options.cache_control, place);
        return Box::pin(read).await;
    }
    let key = match &policy.idempotency {
        Some(declared) => idempotency::key(declared, options.idempotency_key)?.map(|key| (declared.window, key)),
        None => None,
    };
    let answer = match key {
        Some((window, key)) => idempotent(gateway, call, window, key, message).await?,
        None => mutate(gateway, &call, &message.bytes).await.result?,
    };
    Ok(Reply::Unary(answer, None))
}

/// A call under an idempotency key. It runs to its end even when its caller leaves, and holds its slot until then: the
/// answer is what a repeated call will get.
async fn idempotent(
    gateway: &Arc<Gateway>,
    call: Call,
    window: Duration,
    key: String,
    message: HeldBytes,
) -> Result<Answer, Fault> {
    let gateway = Arc::clone(gateway);
    let run = async move {
        let message = &message.bytes;
        let records = gateway.idempotency.as_ref().ok_or_else(idempotency::no_records)?;
        call.record.wait_for(WaitsFor::Cache);
        let recorded = records.begin(&call, window, key, message).await?;
        call.record.wait_for(WaitsFor::Itself);
        match recorded {
            IdempotencyRecord::Completed(answer) => replay(&gateway, &call, message, call.hold(*answer)?).await,
            IdempotencyRecord::Claimed(claim) => {
                let outcome = in_time(&call, mutate(&gateway, &call, message)).await;
                records.end(&call, claim, &outcome).await;
                outcome.result
            }
        }
    };
    tokio::spawn(CurrentCall::get().instrument(run)).await.unwrap_or_else(|_| Err(Fault::defect()))
}

/// What came of a call by its deadline. One that is over before it begins has changed nothing; of one that began nobody knows.
async fn in_time(call: &Call, work: impl Future<Output = Outcome>) -> Outcome {
    if call.deadline.expired() {
        return Outcome::not_acted(Fault::late(&call.record));
    }
    let outcome = deadline::within(call.deadline, work).await;
    outcome.unwrap_or_else(|Elapsed| Outcome::unknown(Fault::late(&call.record)))
}

/// The answer of a call that ran before. Its invalidations may have been deferred then, so they are sent again: reads have
/// to see what the answer says.
async fn replay(gateway: &Gateway, call: &Call, message: &Bytes, answer: Answer) -> Result<Answer, Fault> {
    match PendingInvalidation::of(gateway.invalidator.as_ref(), call, message)? {
        Some(pending) => invalidate(pending, call, Outcome::replayed(answer)).await.result,
        None => Ok(answer),
    }
}

/// A call that may change something: what it makes invalid is invalidated before it answers.
async fn mutate(gateway: &Gateway, call: &Call, message: &Bytes) -> Outcome {
    match PendingInvalidation::of(gateway.invalidator.as_ref(), call, message) {
        Ok(Some(pending)) => invalidate(pending, call, upstream::unary(call, message).await).await,
        Ok(None) => upstream::unary(call, message).await,
        Err(fault) => Outcome::not_acted(fault),
    }
}

/// Invalidates what may have changed; the answer says where the cache does not have it yet, and where other gateways may see it
/// later, as their contract declares.
async fn invalidate(pending: PendingInvalidation, call: &Call, mut outcome: Outcome) -> Outcome {
    let delivery = pending.finish(outcome.may_have_acted, call.deadline).await;
    if let (Ok(answer), Some(delivery)) = (&mut outcome.result, delivery) {
        delivery.tell(call.permit.entry().is_seen_later, &mut answer.head);
    }
    outcome
}
