//! JSON on HTTP, by `google.api.http` or on a method's own path.

mod accept;
mod error;
mod stream;
mod upload;

use super::{
    BodyMode, Coding, Keep, Malformed, PassedBody, Protocol, Reply, RequestFrames, RequestOptions, RouteMatch, Written,
    body::{Whole, add_metadata, add_trailers, body_fault, transcoded, unsupported},
    content,
    grpc::timeout as grpc_timeout,
    grpc_subtype, http_status,
    options::{is_of_the_exchange, single},
};
use crate::{
    etag,
    fault::Fault,
    memory::{self, CallMemory},
    method,
    table::{MethodTable, Variables},
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::{Method, MethodKind};
use accord_runtime::fair_share::Held;
use accord_transcode::{NoMatch, Plan, Violation, ViolationKind};
use accord_upstream::{Answer, grpc};
use bytes::Bytes;
pub(super) use error::status_json;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};
use http_body::Body as HttpBody;
use std::{error::Error, sync::Arc, time::Duration};
use stream::Framing;
use tonic::{Status, body::Body};
use upload::Upload;

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/json");

/// draft-thomson-hybi-http-timeout.
const TIMEOUT: HeaderName = HeaderName::from_static("request-timeout");
const MALFORMED_TIMEOUT: Malformed = Malformed {
    reason: Reason::TimeoutMalformed,
    message: "`request-timeout` must come once and be seconds with at most nine decimals, such as `0.3`",
};

/// A call in JSON, with what the caller reads.
#[derive(Clone, Copy)]
pub(super) struct Json {
    /// Whether errors are problems (RFC 9457).
    accepts_problem: bool,
    /// How a stream's messages are separated.
    framing: Framing,
    /// Whether what follows a stream may be told in HTTP's trailers.
    reads_trailers: bool,
    /// How a text may be compressed.
    coding: Option<Coding>,
}

/// How one call's JSON is read and written.
pub(super) struct Codec {
    plan: Arc<Plan>,
    /// What the path says.
    variables: Variables,
    json: Json,
    /// Whether a resource is read, whose representations have tags.
    is_get: bool,
    /// What the head says of a stream of messages that is uploaded.
    upload: Option<upload::Head>,
}

impl Json {
    /// What a caller reads by its `accept`.
    pub(super) fn new(headers: &HeaderMap) -> Self {
        let accepts_problem = accept::prefers(headers, error::PROBLEM, "application/json");
        let (framing, reads_trailers) = (Framing::of(headers), reads_trailers(headers));
        Self { accepts_problem, framing, reads_trailers, coding: Coding::accepted(headers) }
    }

    /// How its texts may be compressed.
    pub(super) fn coding(self) -> Option<Coding> {
        self.coding
    }

    fn codec(self, plan: Arc<Plan>, variables: Variables) -> Codec {
        Codec { plan, variables, json: self, is_get: false, upload: None }
    }

    /// A handler's error.
    fn error(self, status: &Status, method: &Method) -> Response<Body> {
        let known = method.descriptor.parent_pool();
        error::respond(status, http_status::of(status.code()), self.accepts_problem, Some(known))
    }
}

impl Codec {
    /// The HTTP binding that matched.
    pub(super) fn binding(&self) -> Option<&str> {
        self.plan.binding()
    }

    /// How its answer may be compressed.
    pub(super) fn coding(&self) -> Option<Coding> {
        self.json.coding
    }
}

impl Protocol for Json {
    const IS_BY_LINE: bool = true;

    const IS_GRPC: bool = false;

    type Codec = Codec;

    fn admit(&self, parts: &mut Parts) -> Result<RequestOptions, Fault> {
        if grpc_subtype(&parts.headers).is_some() {
            return Err(unsupported("gRPC needs HTTP/2; call with JSON over HTTP/1.1 instead"));
        }
        Ok(options(&parts.headers))
    }

    /// By its binding, or by `POST /pkg.Service/Method`, which reaches every method.
    fn find(&self, table: &MethodTable, parts: &Parts) -> Result<RouteMatch<Codec>, Fault> {
        let path = parts.uri.path();
        let (entry, mut codec) = match table.http(&parts.method, path) {
            Ok(found) => (found.entry, self.codec(found.plan, found.variables)),
            Err(no_match) => {
                let entry = match table.grpc(path) {
                    Some(own) if parts.method == http::Method::POST => own,
                    Some(_) => return Err(method::not_allowed(&[http::Method::POST])),
                    None => return Err(no_binding(table, path, no_match)),
                };
                (Arc::clone(entry), self.codec(Arc::clone(&entry.plan), Variables::default()))
            }
        };
        codec.is_get = matches!(parts.method, http::Method::GET | http::Method::HEAD);
        let mode = match entry.method.kind {
            MethodKind::Unary => BodyMode::Unary,
            MethodKind::ServerStreaming => BodyMode::ServerStream,
            MethodKind::ClientStreaming | MethodKind::BidiStreaming => {
                codec.upload = Some(upload::Head::of(parts, &codec.plan)?);
                BodyMode::PassThrough
            }
        };
        Ok(RouteMatch { entry, mode, codec })
    }

    async fn read<B>(codec: &Codec, method: &Method, parts: &Parts, body: B, held: &mut Held) -> Result<Bytes, Fault>
    where
        B: HttpBody<Data = Bytes, Error: Error + 'static> + Unpin,
    {
        // What is said of a body that is not there is of no consequence.
        let has_body = !body.is_end_stream();
        if !codec.plan.takes_any_content() && has_body {
            content::check_type(&parts.headers)?;
        }
        let content_encoding =
            if has_body { content::Encoding::of(&parts.headers)? } else { content::Encoding::Identity };
        let limit = method.policy.max_request_bytes;
        let collected = grpc::collect(body, limit, Some(&mut *held)).await;
        let (text, _) = collected.map_err(|error| body_fault(&error))?;
        let text = content_encoding.decode(text, limit)?;
        held.set(text.len() as u64).map_err(memory::shed)?;
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let message = codec.plan.request(&codec.variables, parts.uri.query(), content_type, &text);
        let message = message.map_err(|problem| violation(&problem))?;
        held.set(message.len() as u64).map_err(memory::shed)?;
        Ok(message)
    }

    fn frames(codec: &Codec, method: &Method, body: PassedBody, memory: &CallMemory) -> RequestFrames {
        // One message is never passed on by its frames.
        let Some(head) = codec.upload.clone() else { return RequestFrames::AsTheyStand(body) };
        RequestFrames::rewritten(body, Upload::new(codec, head, method, memory.request()))
    }

    async fn respond(
        codec: &Codec,
        method: &Method,
        reply: Reply,
        memory: &CallMemory,
    ) -> Result<Response<Body>, Fault> {
        match reply {
            Reply::Stream(response) if method.kind == MethodKind::ClientStreaming => {
                unary(codec, method, stream::only(method, response, memory).await?, None, memory)
            }
            Reply::Unary(answer, keep) => unary(codec, method, answer, keep, memory),
            Reply::Stream(response) => stream::respond(codec, method, response, memory).await,
        }
    }

    fn fault(&self, fault: &Fault) -> Response<Body> {
        let http = fault.http_status().unwrap_or_else(|| http_status::of(fault.status().code()));
        error::respond(fault.status(), http, self.accepts_problem, None)
    }
}

/// What the headers of a caller say that reads JSON.
pub(super) fn options(headers: &HeaderMap) -> RequestOptions {
    RequestOptions { is_metadata, ..RequestOptions::new(headers, timeout(headers)) }
}

fn unary(
    codec: &Codec,
    method: &Method,
    answer: Answer,
    keep: Option<Keep>,
    memory: &CallMemory,
) -> Result<Response<Body>, Fault> {
    let (mut is_passed_on, mut written) = (false, None);
    let mut response = match answer.result {
        Ok(message) => {
            let (content_type, text, held) = transcoded(method, &message, memory, |text, may_take| {
                codec.plan.response_within(&message, text, may_take)
            })?;
            is_passed_on = content_type.is_some();
            success(method, content_type.unwrap_or(CONTENT_TYPE), written.insert(text), held)?
        }
        Err(status) => codec.json.error(&status, method),
    };
    add_metadata(&answer.head, is_passed_on, response.headers_mut());
    add_trailers(&answer.trailers, response.headers_mut());
    // One that the contract keeps of the upstream names the answer as well as ours would.
    let is_tagged = codec.is_get && method.policy.cache.is_some() && !response.headers().contains_key(header::ETAG);
    if let Some(text) = written.as_ref().filter(|_| is_tagged) {
        response.headers_mut().insert(header::ETAG, etag::of(text));
    }
    if let Some((keep, body)) = keep.zip(written) {
        let (status, head) = (response.status(), response.headers().clone());
        keep(Written { status, head, body, trailers: None });
    }
    Ok(response)
}

/// An answer with the status that the contract declares. One that has no content (RFC 9110, 15.3.5) is without its text.
fn success(
    method: &Method,
    content_type: HeaderValue,
    text: &mut Bytes,
    mut held: Held,
) -> Result<Response<Body>, Fault> {
    let declared = method.policy.json.success.and_then(|status| StatusCode::from_u16(status).ok());
    let status = declared.unwrap_or(StatusCode::OK);
    if status == StatusCode::NO_CONTENT {
        text.clear();
        held.set(0).map_err(memory::shed)?;
    }
    let mut response = Response::new(Whole::bytes(text.clone(), Some(held)));
    *response.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    Ok(response)
}

/// What `request-timeout` asks for, or the `grpc-timeout` that clients of other gateways send; of both, the shorter one.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Malformed> {
    let own = single(headers, &TIMEOUT, MALFORMED_TIMEOUT, parse_seconds)?;
    let other = grpc_timeout(headers)?;
    Ok(own.into_iter().chain(other).min())
}

/// Whether a caller says that it reads trailers (RFC 9110, 10.1.4).
fn reads_trailers(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::TE).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

fn is_metadata(name: &HeaderName) -> bool {
    !(is_of_the_exchange(name) || name.as_str().starts_with("grpc-"))
}

/// Seconds as `12` or `0.3`.
pub(super) fn parse_seconds(text: &str) -> Option<Duration> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole, 8) || !digits(decimals, 9) {
        return None;
    }
    let nanoseconds: u32 = format!("{decimals:0<9}").parse().ok()?;
    Some(Duration::new(whole.parse().ok()?, nanoseconds))
}

fn no_binding(table: &MethodTable, path: &str, no_match: NoMatch) -> Fault {
    match no_match {
        NoMatch::NotFound => method::unknown(table, path),
        NoMatch::NotCanonical(problem) => {
            Fault::violation(Reason::RequestMalformed, "", &format!("the path {problem}"))
        }
        NoMatch::MethodNotAllowed { allowed } => method::not_allowed(&allowed),
    }
}

/// That a request's JSON is not its message.
pub(super) fn violation(violation: &Violation) -> Fault {
    let reason = match violation.kind {
        ViolationKind::Malformed => Reason::RequestMalformed,
        ViolationKind::UnknownField => Reason::FieldUnknown,
        ViolationKind::InvalidValue => Reason::FieldInvalid,
    };
    Fault::violation(reason, &violation.field, &violation.problem)
}

#[cfg(test)]
mod tests;
