//! The way of a request.

use crate::{
    admit::{self, Arrival, admit},
    authenticate::authenticate,
    authorize::authorize,
    cached::Cache,
    fault::Fault,
    frames::{self, Bounds, Verdict},
    invalidate::{Invalidator, Pending, Reach},
    keyed::{self, Claimed, Records},
    limit::limit,
    message,
    protocol::{BodyMode, Reply, RequestOptions, RouteMatch, WireProtocol},
    seats::{Seated, Seats},
    table::Tables,
    upstream::{self, Answer, Call, Outcome},
};
use accord_mesh::MeshClient;
use accord_runtime::{
    deadline::{Deadline, DeadlineBody},
    observe::MethodName,
};
use accord_upstream::{ResponseBody, grpc};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use std::{future::Future, sync::Arc, time::Duration};
use tonic::body::Body;
use tracing::Instrument;

/// Says that a mutation's invalidations had not reached the cache when it answered.
pub(crate) const INVALIDATION: HeaderName = HeaderName::from_static("x-accord-invalidation");

/// The least time that calls have to end once their connections have been cut.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// Everything that a request meets on its way.
pub(crate) struct Gateway {
    /// The contract in force.
    pub tables: Arc<Tables>,
    /// How many calls may be in flight.
    pub seats: Seats,
    /// Who verifies and decides.
    pub mesh: MeshClient,
    /// Where declared reads are answered from.
    pub cache: Option<Cache>,
    /// How mutations reach what was cached.
    pub invalidator: Option<Invalidator>,
    /// What became of idempotency keys.
    pub records: Option<Records>,
}

impl Gateway {
    /// Waits for what goes on without a caller, until `end` at the latest: calls under a key, and then invalidations.
    pub(crate) async fn finish(&self, end: Deadline) {
        // The calls of connections that were cut are given up in a moment, and say then what they may have changed.
        let end = end.at().max(Deadline::after(LAST_MOMENT).at());
        if tokio::time::timeout_at(end, self.seats.emptied()).await.is_err() {
            tracing::warn!("calls that were still in flight were cut off: raise `grace` if they should end");
        }
        if let Some(invalidator) = &self.invalidator {
            invalidator.finish().await;
        }
    }
}

/// The way of a request, from its arrival to its answer.
///
/// The order is part of the contract: nothing is asked of auth for a method that does not exist, nothing is counted
/// against a limit before it is known whose call it is, and nothing inward sees a call that has no permit.
pub(crate) async fn travel(
    gateway: &Arc<Gateway>,
    protocol: WireProtocol,
    request: Request<Incoming>,
) -> Result<Response<Body>, Fault> {
    let arrival = admit(protocol, request)?;
    let route = protocol.find(&gateway.tables.load(), &arrival.parts)?;
    name(&arrival, &route);
    let policy = &route.entry.method.policy;
    // After the method is known, since its contract says how important the call is.
    let seat = Arc::new(gateway.seats.take(policy.criticality)?);
    let deadline = admit::deadline(&policy.deadline, &arrival.options)?;
    let identity = authenticate(&gateway.mesh, &policy.access, &arrival)?;
    let permit = authorize(&gateway.mesh, &route.entry, identity, &arrival, deadline).await?;
    let allowance = limit(&permit)?;
    let call = Call::new(permit, Arc::clone(&seat), deadline, &arrival, route.mode);
    let mut response = within(deadline, answer(gateway, call, route, arrival)).await?;
    allowance.add_headers(response.headers_mut());
    // The connection cuts a caller that has not read the answer by then, so that nobody keeps a seat by not reading.
    response.extensions_mut().insert(deadline);
    Ok(response.map(|body| Seated::body(body, seat)))
}

/// Lets what observes the call from outside know its one canonical name.
fn name(arrival: &Arrival, route: &RouteMatch) {
    if let Some(name) = arrival.parts.extensions.get::<MethodName>() {
        name.set(Arc::clone(&route.entry.method.name));
    }
}

/// Dropping what is not done in time is what cancels it upstream. What is over before it begins is not begun.
async fn within<T>(deadline: Deadline, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    if deadline.expired() {
        return Err(Fault::deadline());
    }
    tokio::time::timeout_at(deadline.at(), work).await.unwrap_or_else(|_| Err(Fault::deadline()))
}

/// The way inward and back, by what of the body has to be looked at.
async fn answer(
    gateway: &Arc<Gateway>,
    call: Call,
    route: RouteMatch,
    arrival: Arrival,
) -> Result<Response<Body>, Fault> {
    let Arrival { options, parts, body, .. } = arrival;
    let reply = match route.mode {
        BodyMode::PassThrough => Reply::Stream(pass(&call, body).await?),
        BodyMode::Unary => {
            let message = message::read(&route, &parts, body).await?;
            Reply::Unary(ask(gateway, call, message, options).await?)
        }
        BodyMode::ServerStream => {
            let message = message::read(&route, &parts, body).await?;
            Reply::Stream(stream(&call, &message).await?)
        }
    };
    route.respond(reply)
}

/// Bytes in, bytes out, watched for their bounds only.
async fn pass(call: &Call, body: Incoming) -> Result<Response<Body>, Fault> {
    let verdict = Verdict::default();
    let body = frames::request(body, Bounds::of_requests(call.policy()), Arc::clone(&verdict));
    let response = upstream::stream(call, body, &verdict).await?;
    Ok(watched(call, response, verdict))
}

/// One message in, a stream of them out.
async fn stream(call: &Call, message: &Bytes) -> Result<Response<Body>, Fault> {
    let verdict = Verdict::default();
    let response = upstream::stream(call, Full::new(grpc::frame(message)), &verdict).await?;
    Ok(watched(call, response, verdict))
}

/// An answer that ends at the bounds of its method and at the deadline of its call.
fn watched(call: &Call, response: Response<ResponseBody>, verdict: Verdict) -> Response<Body> {
    let (upstream, bounds) = (&call.permit.entry().method.upstream, Bounds::of_answers(&call.permit.entry().method));
    let response = frames::answer(response, upstream, bounds, call.deadline, verdict);
    response.map(|body| Body::new(DeadlineBody::new(body, call.deadline)))
}

/// One message in, one out: from the cache, under a key, or from the upstream.
async fn ask(gateway: &Arc<Gateway>, call: Call, message: Bytes, options: RequestOptions) -> Result<Answer, Fault> {
    let entry = call.permit.entry();
    let policy = &entry.method.policy;
    if let (Some(cache), Some(cached), Some(plan)) = (&gateway.cache, &policy.cache, &entry.cache_plan) {
        return cache.read(&call, cached, plan, &message, options.consistency).await;
    }
    let key = match &policy.idempotency {
        Some(declared) => keyed::key(declared, options.idempotency_key)?.map(|key| (declared.window, key)),
        None => None,
    };
    match key {
        Some((window, key)) => once(gateway, call, window, key, message).await,
        None => mutate(gateway, &call, &message).await,
    }
}

/// A call under a key. It runs to its end even when its caller leaves, and keeps its seat until then: the answer is what
/// a repeated call will get.
async fn once(
    gateway: &Arc<Gateway>,
    call: Call,
    window: Duration,
    key: String,
    message: Bytes,
) -> Result<Answer, Fault> {
    let gateway = Arc::clone(gateway);
    let run = async move {
        let records = gateway.records.as_ref().ok_or_else(keyed::no_records)?;
        match records.begin(&call, window, key, &message).await? {
            Claimed::Before(answer) => replay(&gateway, &call, &message, *answer).await,
            Claimed::Run(claim) => {
                let outcome = within(call.deadline, mutate(&gateway, &call, &message)).await;
                records.end(&call, claim, &outcome).await;
                outcome
            }
        }
    };
    tokio::spawn(run.in_current_span()).await.unwrap_or_else(|_| Err(Fault::defect()))
}

/// The answer of a call that ran before. Its invalidations may have been deferred then, and whoever gets the answer now is
/// promised that reads see what it says.
async fn replay(gateway: &Gateway, call: &Call, message: &Bytes, answer: Answer) -> Result<Answer, Fault> {
    let may_have_acted = upstream::may_have_committed(answer.code());
    match Pending::of(gateway.invalidator.as_ref(), call, message)? {
        Some(pending) => settle(pending, call, Outcome { result: Ok(answer), may_have_acted }).await,
        None => Ok(answer),
    }
}

/// A call that may change something: what it makes invalid is invalidated before it answers.
async fn mutate(gateway: &Gateway, call: &Call, message: &Bytes) -> Result<Answer, Fault> {
    let Some(pending) = Pending::of(gateway.invalidator.as_ref(), call, message)? else {
        return upstream::unary(call, message).await.result;
    };
    settle(pending, call, upstream::unary(call, message).await).await
}

/// Invalidates what may have changed, and says so where the cache does not know of it yet.
async fn settle(pending: Pending, call: &Call, outcome: Outcome) -> Result<Answer, Fault> {
    let Outcome { mut result, may_have_acted } = outcome;
    let reach = pending.settle(may_have_acted, call.deadline).await;
    if let (Ok(answer), Some(Reach::Deferred)) = (&mut result, reach) {
        answer.head.insert(INVALIDATION, HeaderValue::from_static("DEFERRED"));
    }
    result
}
