//! The way inward: what goes to an upstream, and what comes back.

mod outgoing;
mod repeat;

use outgoing::Outgoing;
pub use repeat::unary;

use crate::{
    admit::Arrival,
    authorize::Permit,
    fault::{Component, Fault},
    frames::Verdict,
    grpc::{self, BodyError},
    metadata,
    method::Way,
    route::{Picked, Unreachable},
    seats::Seat,
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::Policy;
use accord_runtime::{
    deadline::{self, Deadline},
    fault::StatusBuilder,
    request::{self, RequestId},
};
use accord_token::PASSPORT_HEADER;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use std::sync::Arc;
use tonic::{Code, Status, body::Body};
use tracing::Instrument;

/// Counts the attempts before this one; a call that carries it is retried by whoever sent it, and not here as well.
pub const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// A call that may go inward.
pub struct Call {
    /// That it may.
    pub permit: Permit,
    /// Its seat, for as long as something is done for it.
    pub seat: Arc<Seat>,
    /// Until when.
    pub deadline: Deadline,
    /// Its id.
    pub id: RequestId,
    /// The caller's metadata, as far as it travels.
    pub metadata: HeaderMap,
    /// Whether whoever sent it repeats it.
    pub is_retried_outside: bool,
    /// What of the body the gateway looks at.
    pub way: Way,
}

impl Call {
    /// A call with what of its head travels inward.
    pub fn new(permit: Permit, seat: Arc<Seat>, deadline: Deadline, arrival: &Arrival, way: Way) -> Self {
        let headers = &arrival.parts.headers;
        let inward = metadata::inward(headers, arrival.protocol, way != Way::Bytes);
        let is_retried_outside = inward.contains_key(PREVIOUS_ATTEMPTS);
        let metadata = match &permit.entry().method.policy.cache {
            Some(cache) => metadata::only(headers, &cache.vary),
            None => inward,
        };
        Self { permit, seat, deadline, id: arrival.id.clone(), metadata, is_retried_outside, way }
    }

    /// What the contract says of its method.
    pub fn policy(&self) -> &Policy {
        &self.permit.entry().method.policy
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

    /// Without the metadata that the contract of a cached method does not name, whoever gives the answer.
    fn declared(mut self, policy: &Policy) -> Self {
        if let Some(cache) = &policy.cache {
            self.head = metadata::only(&self.head, &cache.keep_headers);
            self.trailers = metadata::only(&self.trailers, &cache.keep_headers);
        }
        self
    }

    /// The code that the handler ended with.
    pub fn code(&self) -> Code {
        self.result.as_ref().map_or_else(Status::code, |_| Code::Ok)
    }
}

/// Sends a body on as it comes, and the answer back as it comes.
pub async fn stream(call: &Call, body: Body, verdict: &Verdict) -> Result<Response<Body>, Fault> {
    let picked = call.permit.entry().upstream.pick();
    let response = send(call, picked, Outgoing::stream(body), 0, || verdict.get().is_some()).await;
    let response = response.map_err(|error| unreachable_fault(call, error))?;
    let mut response = in_grpc(call, response)?;
    if deadline::is_race_in(call.deadline, response.headers()) {
        return Err(Fault::deadline());
    }
    metadata::outward(response.headers_mut());
    Ok(response)
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

async fn attempt(call: &Call, picked: Picked, body: &Bytes, previous: u32) -> Outcome {
    let limit = call.policy().max_response_bytes;
    let message = Outgoing::Message(body.clone());
    let response = send(call, picked, message, previous, || false).await.map_err(Failure::Unreachable)?;
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
        (Some(status), _) if deadline::is_race(call.deadline, &status) => {
            return Err(Failure::Fault(Fault::deadline()));
        }
        (Some(status), _) => Err(status),
        (None, _) => return Err(Failure::Fault(not_grpc(call, parts.status))),
    };
    Ok(Answer { head: parts.headers, result, trailers })
}

/// Refuses what a server answers that knows no gRPC, before its body is taken for messages.
fn in_grpc(call: &Call, response: Response<Body>) -> Result<Response<Body>, Fault> {
    let headers = response.headers();
    let in_grpc = if headers.contains_key("grpc-status") {
        grpc::has_status(headers)
    } else {
        let content_type = headers.get(header::CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
        response.status() == StatusCode::OK && content_type.starts_with(grpc::CONTENT_TYPE.as_bytes())
    };
    if in_grpc { Ok(response) } else { Err(not_grpc(call, response.status())) }
}

fn strip_status(metadata: &mut HeaderMap) {
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-encoding", "content-type"] {
        metadata.remove(name);
    }
}

/// Sends the call to an endpoint, and to another one where the first certainly never saw it: that is always safe.
async fn send(
    call: &Call,
    picked: Picked,
    body: Outgoing,
    previous: u32,
    is_cut_off: impl Fn() -> bool,
) -> Result<Response<Body>, Unreachable> {
    let tried = picked.index();
    let sent = send_to(call, picked, body.lend().unwrap_or_default(), previous, &is_cut_off).await;
    let never_seen = sent.as_ref().is_err_and(|error| error.never_seen());
    match never_seen.then(|| body.lend()).flatten() {
        Some(body) => {
            let another = call.permit.entry().upstream.pick_other_than(tried);
            send_to(call, another, body, previous, &is_cut_off).await
        }
        None => sent,
    }
}

async fn send_to(
    call: &Call,
    picked: Picked,
    body: Body,
    previous: u32,
    is_cut_off: impl Fn() -> bool,
) -> Result<Response<Body>, Unreachable> {
    let entry = call.permit.entry();
    let span = tracing::info_span!(
        "upstream",
        otel.kind = "client",
        otel.name = &*entry.method.name,
        rpc.system.name = "grpc",
        server.address = picked.url(),
    );
    let request = span.in_scope(|| head(call, body, previous));
    picked.call(request, is_cut_off).instrument(span).await
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
        headers.insert(PASSPORT_HEADER, passport.clone());
    }
    if previous > 0 {
        headers.insert(PREVIOUS_ATTEMPTS, HeaderValue::from(previous));
    }
    request
}

fn unreachable_fault(call: &Call, error: Unreachable) -> Fault {
    if error == Unreachable::Late || call.deadline.expired() {
        return Fault::deadline();
    }
    let message = format!("upstream {}: {error}", call.permit.entry().method.upstream);
    Fault::new(Component::Upstream, Reason::UpstreamUnavailable, message)
}

fn body_fault(call: &Call, error: &BodyError) -> Fault {
    let message = format!("the answer of {} can't be used: {error}", call.permit.entry().method.upstream);
    match error {
        BodyError::TooLarge { .. } => Fault::new(Component::Upstream, Reason::ResponseTooLarge, message),
        BodyError::Broken if call.deadline.expired() => Fault::deadline(),
        BodyError::Broken => Fault::new(Component::Upstream, Reason::UpstreamUnavailable, message),
        BodyError::Malformed(_) | BodyError::Encoding(_) => Fault::malformed(message),
    }
}

fn not_grpc(call: &Call, status: StatusCode) -> Fault {
    let message = format!("upstream {} answered HTTP {status} and no gRPC status", call.permit.entry().method.upstream);
    let status = StatusBuilder::new(Reason::UpstreamMalformed, message).code(grpc::from_http(status));
    Fault::of(Component::Upstream, status)
}
