//! One attempt at a call: its headers, its response, and what of it can't be one.

use std::sync::Arc;

use accord_runtime::criticality;
use accord_runtime::deadline::{self, Elapsed, within};
use accord_runtime::request;
use accord_runtime::trace::ClientSpan;
use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Response, header};
use tonic::Code;
use tracing::{Instrument, Span};

use crate::adaptive_limit::Timing;
use crate::balance::{Picked, Upstream};
use crate::body::ResponseBody;
use crate::call::{Answer, Call, PREVIOUS_ATTEMPTS};
use crate::discovery::Address;
use crate::exchange;
use crate::failure::Failure;
use crate::payload::{Payload, RequestBody};
use crate::transport_error::TransportError;
use crate::{grpc, metadata, status};

/// What a call says of its caller where the metadata says nothing.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("accord/", env!("CARGO_PKG_VERSION")));

impl Upstream {
    /// Sends a body on as it comes, and the answer back as it comes.
    pub async fn stream<B>(self: &Arc<Self>, call: &Call<'_>, body: B) -> Result<Response<ResponseBody>, Failure>
    where
        B: RequestBody,
    {
        let (admission, _waiting) = self.admit(call)?;
        let picked = self.pick_for(call).await?;
        let mut response = self.send(call, picked, 0, &mut Payload::Stream(body)).await.and_then(in_grpc)?;
        status::strip_unreadable(response.headers_mut());
        if deadline::is_race_in(call.deadline, response.headers()) {
            return Err(Failure::Transport(TransportError::DeadlineExceeded));
        }
        metadata::strip_reserved(response.headers_mut());
        response.body_mut().hold(admission);
        Ok(response)
    }

    /// A place at an endpoint, which may have to be discovered first, within the call's time.
    pub(crate) async fn pick_for(self: &Arc<Self>, call: &Call<'_>) -> Result<Picked, Failure> {
        let picked = within(call.deadline, self.pick()).await;
        let picked = picked.map_err(|Elapsed| Failure::Transport(TransportError::DeadlineExceeded))?;
        picked.ok_or_else(|| Failure::Transport(TransportError::Connect(self.no_endpoint())))
    }

    async fn send<B>(
        self: &Arc<Self>,
        call: &Call<'_>,
        picked: Picked,
        previous: u32,
        payload: &mut Payload<B>,
    ) -> Result<Response<ResponseBody>, Failure>
    where
        B: RequestBody,
    {
        if let Some(record) = call.record {
            record.add_attempt(picked.endpoint().label());
        }
        let traced = ClientSpan::open(call.deadline, || span(call, picked.endpoint().address()));
        let span = traced.as_ref().map_or_else(Span::none, |traced| traced.span().clone());
        let timing = self.time(call, picked.in_flight.since(), payload.is_here());
        let sending = exchange::send(self, picked, call.path, || head(call, previous), payload);
        let sent = within(call.deadline, sending.instrument(span)).await;
        let mut sent = sent.unwrap_or(Err(TransportError::DeadlineExceeded));
        end_with(traced, &mut sent);
        if let Some(timing) = timing {
            timed(timing, &sent, payload.is_here());
        }
        sent.map_err(|error| Failure::transport_error(error, call.deadline))
    }

    /// One attempt at a unary call.
    pub(crate) async fn attempt(
        self: &Arc<Self>,
        call: &Call<'_>,
        picked: Picked,
        framed: &Bytes,
        previous: u32,
    ) -> Result<Answer, Failure> {
        let mut payload = Payload::<http_body_util::Empty<Bytes>>::Whole(framed.clone());
        let response = self.send(call, picked, previous, &mut payload).await.and_then(in_grpc)?;
        let (mut parts, body) = response.into_parts();
        let mut held = call.held();
        let reading = grpc::read_answer(body, &parts.headers, call.max_response_bytes, held.as_mut());
        let read = within(call.deadline, reading).await;
        let read = read.map_err(|Elapsed| Failure::Transport(TransportError::DeadlineExceeded))?;
        let (message, trailers) = read.map_err(|error| Failure::body(error, call.deadline))?;
        let status = status::status(&parts.headers, trailers.as_ref());
        let is_trailers_only = trailers.is_none();
        let mut trailers = trailers.unwrap_or_default();
        for metadata in [&mut parts.headers, &mut trailers] {
            status::strip(metadata);
            metadata::strip_reserved(metadata);
        }
        let result = match (status, message) {
            (Some(status), Some(message)) if status.code() == Code::Ok => Ok(message),
            (Some(status), None) if status.code() == Code::Ok => return Err(Failure::no_message()),
            (Some(status), _) if deadline::is_race(call.deadline, &status) => {
                return Err(Failure::Transport(TransportError::DeadlineExceeded));
            }
            (Some(status), _) => Err(status),
            (None, _) => return Err(Failure::NotGrpc(parts.status)),
        };
        Ok(Answer { head: parts.headers, result, trailers, is_trailers_only, held })
    }
}

/// The span of an attempt, by OpenTelemetry's conventions for gRPC. Where it goes is what is configured; the endpoint is the one that is
/// tried first.
fn span(call: &Call<'_>, to: &Address) -> Span {
    let (method, authority) = (call.path.as_str().trim_start_matches('/'), &to.url.authority);
    let port = authority.port_u16().unwrap_or(if to.url.scheme == Scheme::HTTPS { 443 } else { 80 });
    tracing::info_span!(
        "upstream",
        otel.kind = "client",
        otel.name = method,
        rpc.system.name = "grpc",
        rpc.method = method,
        server.address = authority.host().trim_matches(['[', ']']),
        server.port = i64::from(port),
        network.peer.address = %to.socket.ip(),
        network.peer.port = i64::from(to.socket.port()),
    )
}

/// The span of an attempt ends with it: with the last byte of its answer, where there is one.
fn end_with(traced: Option<ClientSpan>, sent: &mut Result<Response<ResponseBody>, TransportError>) {
    let Some(traced) = traced else { return };
    match sent {
        Err(error) => traced.break_off(error.code()),
        Ok(response) => match status::code(response.headers()) {
            Some(code) => traced.end(code),
            None if is_in_grpc(response) => response.body_mut().trace(traced),
            None => traced.end(Failure::NotGrpc(response.status()).code()),
        },
    }
}

/// What an attempt says of how long answers take. An error is often quick, and one of transport says nothing; a time that is over
/// says how long it was at least, unless it was the caller's, who had not sent the request.
fn timed(timing: Timing<'_>, sent: &Result<Response<ResponseBody>, TransportError>, is_sent: bool) {
    match sent {
        Ok(response) => match response.body().latency() {
            Some(latency) if status::code(response.headers()).is_none_or(|code| code == Code::Ok) => {
                timing.answered(latency);
            }
            _ => timing.forget(),
        },
        Err(TransportError::DeadlineExceeded) if is_sent => timing.given_up(),
        Err(_) => timing.forget(),
    }
}

/// Gives metadata the headers that every attempt sets, so that a copy of it for an attempt has no need to grow.
pub fn make_room(metadata: &mut HeaderMap) {
    metadata.insert(header::TE, HeaderValue::from_static("trailers"));
    metadata.insert(header::CONTENT_TYPE, grpc::CONTENT_TYPE);
    metadata.entry(header::USER_AGENT).or_insert(USER_AGENT);
    request::make_room(metadata);
}

/// The headers of an attempt.
fn head(call: &Call<'_>, previous: u32) -> HeaderMap {
    let mut headers = call.metadata.clone();
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONTENT_TYPE, grpc::CONTENT_TYPE);
    headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
    request::carry(&mut headers, call.deadline, call.id);
    criticality::carry(&mut headers, call.criticality);
    if previous > 0 {
        headers.insert(PREVIOUS_ATTEMPTS, HeaderValue::from(previous));
    }
    headers
}

/// Refuses what a server answers that knows no gRPC, before its body is taken for messages.
fn in_grpc(response: Response<ResponseBody>) -> Result<Response<ResponseBody>, Failure> {
    if is_in_grpc(&response) { Ok(response) } else { Err(Failure::NotGrpc(response.status())) }
}

fn is_in_grpc(response: &Response<ResponseBody>) -> bool {
    let headers = response.headers();
    if headers.contains_key("grpc-status") {
        status::has_status(headers)
    } else {
        let content_type = headers.get(header::CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
        response.status() == http::StatusCode::OK && content_type.starts_with(grpc::CONTENT_TYPE.as_bytes())
    }
}
