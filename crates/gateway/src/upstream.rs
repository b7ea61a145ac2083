//! The way inward: one attempt at an upstream, and how often a failed one is repeated (gRFC A6).

use crate::{
    admit::Arrival,
    authorize::Permit,
    fault::{Component, Fault},
    grpc::{self, BodyError},
    keyed, metadata,
    method::Way,
    route::{Picked, Unreachable},
};
use accord_api::accord::fault::v1::Reason;
use accord_runtime::{
    deadline::Deadline,
    request::{self, RequestId},
};
use accord_token::PASSPORT_HEADER;
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use rand::RngExt;
use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};
use tonic::{Code, Status, body::Body};
use tracing::Instrument;

/// Counts the attempts before this one; a call that carries it is retried by whoever sent it, and not here as well.
pub const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

const PUSHBACK: &str = "grpc-retry-pushback-ms";
const FIRST_BACKOFF: Duration = Duration::from_millis(25);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// A call that may go inward.
pub struct Call {
    /// That it may.
    pub permit: Permit,
    /// Until when.
    pub deadline: Deadline,
    /// Its id.
    pub id: RequestId,
    /// The caller's metadata, as far as it travels.
    pub metadata: HeaderMap,
    /// What of the body the gateway looks at.
    pub way: Way,
}

impl Call {
    /// A call with what of its head travels inward.
    pub fn new(permit: Permit, deadline: Deadline, arrival: &Arrival, way: Way) -> Self {
        let metadata = metadata::inward(&arrival.parts.headers, arrival.protocol, way != Way::Bytes);
        Self { permit, deadline, id: arrival.id.clone(), metadata, way }
    }
}

/// What a handler said to a unary call.
pub struct Answer {
    /// The initial metadata.
    pub head: HeaderMap,
    /// The message, or the handler's own error.
    pub result: Result<Bytes, Status>,
    /// The trailing metadata, without the status.
    pub trailers: HeaderMap,
}

impl Answer {
    /// An answer without metadata.
    pub fn new(result: Result<Bytes, Status>) -> Self {
        Self { head: HeaderMap::new(), result, trailers: HeaderMap::new() }
    }

    fn code(&self) -> Code {
        self.result.as_ref().map_or_else(Status::code, |_| Code::Ok)
    }
}

/// Keeps retries a small part of the calls: each failure takes a token, each success gives a tenth of one back, and
/// nothing is retried while less than half are left. Counted in tenths, so that no rounding eats the ratio.
pub struct Budget(AtomicI64);

impl Budget {
    const MOST: i64 = 1000;

    fn failed(&self) {
        self.add(-10);
    }

    fn succeeded(&self) {
        self.add(1);
    }

    fn add(&self, tenths: i64) {
        let change = |left: i64| Some((left + tenths).clamp(0, Self::MOST));
        // The closure always answers, so the update can't fail.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    fn allows(&self) -> bool {
        self.0.load(Ordering::Relaxed) > Self::MOST / 2
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicI64::new(Self::MOST))
    }
}

/// Sends a body on as it comes, and the answer back as it comes.
pub async fn stream(call: &Call, body: Body) -> Result<Response<Body>, Fault> {
    let picked = call.permit.entry().upstream.pick();
    let response = send(call, picked, body, 0).await.map_err(|error| unreachable_fault(call, error))?;
    let mut response = in_grpc(call, response)?;
    metadata::outward(response.headers_mut());
    Ok(response)
}

/// Makes a unary call, repeated as its contract allows.
pub async fn unary(call: &Call, message: &Bytes) -> Result<Answer, Fault> {
    let body = grpc::frame(message);
    let entry = call.permit.entry();
    let is_retried_outside = call.metadata.contains_key(PREVIOUS_ATTEMPTS);
    let may_repeat = entry.method.may_repeat(call.metadata.contains_key(keyed::KEY));
    let retry = entry.method.policy.retry.as_ref().filter(|_| may_repeat && !is_retried_outside);
    let outcome = match retry {
        Some(retry) if retry.hedge_after.is_some() => hedged(call, &body, retry).await,
        Some(retry) => retried(call, &body, retry).await,
        None => once_or_unsent(call, &body).await,
    };
    outcome.map_err(|failure| failure.into_fault(call))
}

/// Why an attempt has no answer.
enum Failure {
    Unreachable(Unreachable),
    Body(BodyError),
    Fault(Fault),
}

impl Failure {
    fn into_fault(self, call: &Call) -> Fault {
        match self {
            Self::Unreachable(error) => unreachable_fault(call, error),
            Self::Body(error) => body_fault(call, &error),
            Self::Fault(fault) => fault,
        }
    }
}

type Outcome = Result<Answer, Failure>;

/// A call without a retry policy still gets another endpoint where the first certainly never saw it.
async fn once_or_unsent(call: &Call, body: &Bytes) -> Outcome {
    let picked = call.permit.entry().upstream.pick();
    let tried = picked.index();
    match attempt(call, picked, body, 0).await {
        Err(Failure::Unreachable(error)) if error.never_sent() => {
            attempt(call, call.permit.entry().upstream.pick_other_than(tried), body, 0).await
        }
        outcome => outcome,
    }
}

async fn retried(call: &Call, body: &Bytes, retry: &accord_contract::Retry) -> Outcome {
    let entry = call.permit.entry();
    let mut picked = entry.upstream.pick();
    for made in 1.. {
        let tried = picked.index();
        let outcome = attempt(call, picked, body, made - 1).await;
        let Some(pushback) = wants_another(&outcome, retry) else {
            entry.retries.succeeded();
            return outcome;
        };
        entry.retries.failed();
        if made >= retry.max_attempts || !entry.retries.allows() {
            return outcome;
        }
        let Some(wait) = pushback.map_or_else(|| Some(backoff(made)), Pushback::wait) else { return outcome };
        if wait >= call.deadline.remaining() {
            return outcome;
        }
        tokio::time::sleep(wait).await;
        picked = entry.upstream.pick_other_than(tried);
    }
    unreachable!("the loop counts up to max_attempts")
}

/// Starts further attempts beside the first where it is slow; the first good answer wins, and the others are cancelled.
async fn hedged(call: &Call, body: &Bytes, retry: &accord_contract::Retry) -> Outcome {
    let entry = call.permit.entry();
    let after = retry.hedge_after.unwrap_or(Duration::MAX);
    let first = entry.upstream.pick();
    let mut tried = first.index();
    let mut racing = FuturesUnordered::from_iter([attempt(call, first, body, 0)]);
    let (mut made, mut is_stopped) = (1, false);
    loop {
        let may_start = !is_stopped && made < retry.max_attempts && entry.retries.allows();
        tokio::select! {
            Some(outcome) = racing.next() => {
                let Some(pushback) = wants_another(&outcome, retry) else {
                    entry.retries.succeeded();
                    return outcome;
                };
                entry.retries.failed();
                // A server that says not to come back says so of all attempts (gRFC A6).
                is_stopped |= pushback.is_some_and(|pushback| pushback.wait().is_none());
                let may_start = may_start && !is_stopped;
                if racing.is_empty() && !may_start {
                    return outcome;
                }
                if !may_start {
                    continue;
                }
            }
            () = tokio::time::sleep(after), if may_start => {}
        }
        let next = entry.upstream.pick_other_than(tried);
        tried = next.index();
        racing.push(attempt(call, next, body, made));
        made += 1;
    }
}

/// What the server said about when to come back.
struct Pushback(Option<Duration>);

impl Pushback {
    fn wait(self) -> Option<Duration> {
        self.0
    }
}

/// Whether the contract retries this outcome, and what the server said about it.
#[expect(clippy::option_option, reason = "outside: whether to retry at all; inside: whether the server said when")]
fn wants_another(outcome: &Outcome, retry: &accord_contract::Retry) -> Option<Option<Pushback>> {
    match outcome {
        Ok(answer) if retry.on.contains(&answer.code()) => Some(pushback(&answer.trailers).or(pushback(&answer.head))),
        Err(Failure::Unreachable(error)) if error.never_sent() || retry.on.contains(&Code::Unavailable) => Some(None),
        Err(Failure::Fault(fault)) if retry.on.contains(&fault.status().code()) => Some(None),
        _ => None,
    }
}

fn pushback(metadata: &HeaderMap) -> Option<Pushback> {
    let value = metadata.get(PUSHBACK)?;
    // Negative or malformed: don't retry at all (gRFC A6).
    let wait = value.to_str().ok().and_then(|text| text.parse::<u32>().ok());
    Some(Pushback(wait.map(|milliseconds| Duration::from_millis(milliseconds.into()))))
}

/// Doubles with each attempt, ±20% so that those who failed together don't come back together.
fn backoff(made: u32) -> Duration {
    let longest = FIRST_BACKOFF.saturating_mul(1 << made.min(10)).min(LONGEST_BACKOFF);
    longest.mul_f64(rand::rng().random_range(0.8..1.2))
}

async fn attempt(call: &Call, picked: Picked, body: &Bytes, previous: u32) -> Outcome {
    let limit = call.permit.entry().method.policy.max_response_bytes;
    let response =
        send(call, picked, grpc::Whole::bytes(body.clone()), previous).await.map_err(Failure::Unreachable)?;
    let (mut parts, body) = in_grpc(call, response).map_err(Failure::Fault)?.into_parts();
    let encoding = parts.headers.get("grpc-encoding").cloned();
    let (message, trailers) = grpc::read_unary(body, encoding.as_ref(), limit).await.map_err(Failure::Body)?;
    let status = grpc::status(&parts.headers, trailers.as_ref());
    let mut trailers = trailers.unwrap_or_default();
    for metadata in [&mut parts.headers, &mut trailers] {
        strip_status(metadata);
        metadata::outward(metadata);
    }
    let result = match (status, message) {
        (Some(status), Some(message)) if status.code() == Code::Ok => Ok(message),
        (Some(status), None) if status.code() == Code::Ok => {
            return Err(Failure::Body(BodyError::Malformed("its status is OK and there is no message")));
        }
        (Some(status), _) => Err(status),
        (None, _) => return Err(Failure::Fault(not_grpc(call, parts.status))),
    };
    Ok(Answer { head: parts.headers, result, trailers })
}

/// Refuses what a server answers that knows no gRPC, before its body is taken for messages.
fn in_grpc(call: &Call, response: Response<Body>) -> Result<Response<Body>, Fault> {
    if response.status() == StatusCode::OK || response.headers().contains_key("grpc-status") {
        return Ok(response);
    }
    Err(not_grpc(call, response.status()))
}

fn strip_status(metadata: &mut HeaderMap) {
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-encoding", "content-type"] {
        metadata.remove(name);
    }
}

async fn send(call: &Call, picked: Picked, body: Body, previous: u32) -> Result<Response<Body>, Unreachable> {
    let entry = call.permit.entry();
    let span = tracing::info_span!(
        "upstream",
        otel.kind = "client",
        otel.name = &*entry.method.name,
        rpc.system.name = "grpc",
        server.address = picked.url(),
    );
    let request = span.in_scope(|| head(call, body, previous));
    picked.call(request).instrument(span).await
}

fn head(call: &Call, body: Body, previous: u32) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = call.permit.entry().path.clone();
    let headers = request.headers_mut();
    headers.clone_from(&call.metadata);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONTENT_TYPE, grpc::CONTENT_TYPE);
    request::carry(headers, call.deadline, &call.id);
    if let Some(passport) = call.permit.passport() {
        headers.insert(PASSPORT_HEADER, passport);
    }
    if previous > 0 {
        headers.insert(PREVIOUS_ATTEMPTS, HeaderValue::from(previous));
    }
    request
}

fn unreachable_fault(call: &Call, error: Unreachable) -> Fault {
    if call.deadline.expired() {
        return Fault::deadline();
    }
    let message = format!("upstream {}: {error}", call.permit.entry().method.upstream);
    Fault::new(Component::Upstream, Code::Unavailable, Reason::UpstreamUnavailable, message)
}

fn body_fault(call: &Call, error: &BodyError) -> Fault {
    let message = format!("the answer of {} can't be used: {error}", call.permit.entry().method.upstream);
    match error {
        BodyError::TooLarge { .. } => {
            Fault::new(Component::Upstream, Code::ResourceExhausted, Reason::ResponseTooLarge, message)
        }
        BodyError::Broken if call.deadline.expired() => Fault::deadline(),
        BodyError::Broken => Fault::new(Component::Upstream, Code::Unavailable, Reason::UpstreamUnavailable, message),
        BodyError::Malformed(_) | BodyError::Encoding(_) => malformed(message),
    }
}

/// A fault for an answer that is not what the contract says.
pub fn malformed(message: String) -> Fault {
    Fault::new(Component::Upstream, Code::Internal, Reason::UpstreamMalformed, message)
}

fn not_grpc(call: &Call, status: StatusCode) -> Fault {
    let message = format!("upstream {} answered HTTP {status} and no gRPC status", call.permit.entry().method.upstream);
    Fault::new(Component::Upstream, grpc::from_http(status), Reason::UpstreamMalformed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_ends_retries_under_steady_failure_and_recovers() {
        let budget = Budget::default();
        let retried = (0..1000)
            .take_while(|_| {
                budget.failed();
                budget.allows()
            })
            .count();
        assert_eq!(retried, 49);
        (0..600).for_each(|_| budget.succeeded());
        assert!(budget.allows());
    }

    #[test]
    fn pushback_is_milliseconds_and_anything_else_forbids() {
        let read = |text: &'static str| {
            let metadata = HeaderMap::from_iter([(HeaderName::from_static(PUSHBACK), HeaderValue::from_static(text))]);
            pushback(&metadata).map(Pushback::wait)
        };
        assert_eq!(read("250"), Some(Some(Duration::from_millis(250))));
        assert_eq!(read("-1"), Some(None));
        assert_eq!(read("soon"), Some(None));
        assert!(pushback(&HeaderMap::new()).is_none());
    }
}
