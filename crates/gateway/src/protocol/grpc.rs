//! gRPC on HTTP/2 (gRPC's PROTOCOL-HTTP2).

use super::{
    BodyMode, Keep, Malformed, Protocol, Reply, RequestOptions, RouteMatch, Written,
    body::{Whole, body_fault, unsupported},
    grpc_subtype,
    options::single,
};
use crate::{fault::Fault, memory::CallMemory, method, table::MethodTable};
use accord_api::accord::fault::v1::Reason;
use accord_contract::Method;
use accord_runtime::{
    deadline::{self, parse_grpc_timeout},
    fair_share::Held,
};
use accord_upstream::{
    Answer, PREVIOUS_ATTEMPTS,
    grpc::{self, BodyError, Encoding},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};
use http_body::Body as HttpBody;
use std::{error::Error, sync::Arc, time::Duration};
use tonic::{Status, body::Body};

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// How the messages of a request are compressed.
pub(super) const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// How those of its answer may be.
pub(super) const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const MALFORMED_TIMEOUT: Malformed = Malformed {
    reason: Reason::TimeoutMalformed,
    message: "`grpc-timeout` must come once and be 1 to 8 digits and one of H M S m u n, such as `300m`",
};

/// A call in gRPC.
#[derive(Clone, Copy)]
pub(super) struct Grpc;

impl Protocol for Grpc {
    const IS_BY_LINE: bool = false;

    const IS_GRPC: bool = true;

    type Codec = ();

    fn admit(&self, parts: &mut Parts) -> Result<RequestOptions, Fault> {
        options(parts, grpc_subtype(&parts.headers))
    }

    fn find(&self, table: &MethodTable, parts: &Parts) -> Result<RouteMatch<()>, Fault> {
        at_path(table, parts, ())
    }

    async fn read<B>((): &(), method: &Method, parts: &Parts, body: B, held: &mut Held) -> Result<Bytes, Fault>
    where
        B: HttpBody<Data = Bytes, Error: Error + 'static> + Unpin,
    {
        read(method, parts, body, held).await
    }

    async fn respond((): &(), _: &Method, reply: Reply, _: &CallMemory) -> Result<Response<Body>, Fault> {
        Ok(match reply {
            Reply::Unary(answer, keep) => unary(answer, keep),
            Reply::Stream(response) => response,
        })
    }

    fn fault(&self, fault: &Fault) -> Response<Body> {
        trailers_only(fault.status())
    }
}

/// What a caller asks for whose frames are gRPC's, `subtype` being how it says that its messages are written.
pub(super) fn options(parts: &Parts, subtype: Option<&str>) -> Result<RequestOptions, Fault> {
    match subtype {
        Some(subtype) if !is_protobuf(subtype) => {
            return Err(unsupported("gRPC is served with protobuf messages only; call with JSON otherwise"));
        }
        _ if parts.method != http::Method::POST => return Err(unsupported("a gRPC call is a POST")),
        _ => {}
    }
    // Whether the messages are read or not: what a contract declares must not decide which clients can call.
    Encoding::of(parts.headers.get(ENCODING))
        .map_err(|error| body_fault(&error).header(ACCEPT_ENCODING, Encoding::ACCEPTED))?;
    let timeout = timeout(&parts.headers);
    let is_retried_by_caller = parts.headers.contains_key(PREVIOUS_ATTEMPTS);
    Ok(RequestOptions { is_retried_by_caller, ..RequestOptions::new(&parts.headers, timeout) })
}

/// What `grpc-timeout` asks for.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Malformed> {
    single(headers, &TIMEOUT, MALFORMED_TIMEOUT, |text| parse_grpc_timeout(text).ok())
}

/// The method at its own path. Bytes that nobody has to look at are not looked at.
pub(super) fn at_path<C>(table: &MethodTable, parts: &Parts, codec: C) -> Result<RouteMatch<C>, Fault> {
    let entry = Arc::clone(method::at_path(table, parts.uri.path())?);
    let mode = if entry.method.is_read { BodyMode::Unary } else { BodyMode::PassThrough };
    Ok(RouteMatch { entry, mode, codec })
}

/// The one message in a body of gRPC's frames.
pub(super) async fn read<B>(method: &Method, parts: &Parts, body: B, held: &mut Held) -> Result<Bytes, Fault>
where
    B: HttpBody<Data = Bytes, Error: Error + 'static> + Unpin,
{
    let encoding = parts.headers.get(ENCODING);
    match grpc::read_unary(body, encoding, method.policy.max_request_bytes, Some(held)).await {
        Ok((Some(message), _)) => Ok(message),
        Ok((None, _)) => Err(body_fault(&BodyError::Malformed("there is no message"))),
        Err(error) => Err(body_fault(&error)),
    }
}

fn is_protobuf(subtype: &str) -> bool {
    subtype.is_empty() || subtype.eq_ignore_ascii_case("+proto")
}

fn unary(answer: Answer, keep: Option<Keep>) -> Response<Body> {
    let mut written = None;
    let mut response = match answer.result {
        Ok(message) => {
            let mut trailers = answer.trailers;
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let framed = grpc::frame(&message);
            written = keep.is_some().then(|| (framed.clone(), trailers.clone()));
            Response::new(Whole::with_trailers(framed, trailers, answer.held))
        }
        Err(status) if answer.is_trailers_only => trailers_only(&status),
        Err(status) => {
            let mut trailers = answer.trailers;
            trailers.extend(deadline::trailers(&status));
            Response::new(Whole::with_trailers(Bytes::new(), trailers, None))
        }
    };
    response.headers_mut().extend(answer.head);
    response.headers_mut().insert(header::CONTENT_TYPE, grpc::CONTENT_TYPE);
    if let Some((keep, (body, trailers))) = keep.zip(written) {
        keep(Written { status: StatusCode::OK, head: response.headers().clone(), body, trailers: Some(trailers) });
    }
    response
}

/// An answer that is a status and nothing else.
fn trailers_only(status: &Status) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = deadline::trailers(status);
    response.headers_mut().insert(header::CONTENT_TYPE, grpc::CONTENT_TYPE);
    response
}
