//! gRPC-Web over HTTP/1.1 and HTTP/2 (gRPC's PROTOCOL-WEB): gRPC's frames, in base64 where the caller reads text alone, with the
//! trailers as the last of them.

pub(super) mod base64;

use self::base64::Base64;
use super::{
    Keep, Protocol, Reply, RequestOptions, RouteMatch, Written, WrittenAs,
    body::{Whole, body_fault},
    content_type,
    frames::{AnsweredInBody, EndInBody, PassedBody, RequestFrames},
    grpc,
    options::is_of_the_exchange,
    without_prefix,
};
use crate::{fault::Fault, memory::CallMemory, table::MethodTable};
use accord_contract::Method;
use accord_runtime::{current_call, deadline, fair_share::Held};
use accord_upstream::{Answer, grpc as frames, grpc::BodyError};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};
use http_body::Body as HttpBody;
use http_body_util::Full;
use std::error::Error;
use tonic::{Code, Status, body::Body};

const BINARY: HeaderValue = HeaderValue::from_static("application/grpc-web+proto");
const TEXT: HeaderValue = HeaderValue::from_static("application/grpc-web-text+proto");

/// The flag of the frame that holds the trailers.
const TRAILERS: u8 = 0x80;

/// A call in gRPC-Web.
#[derive(Clone, Copy)]
pub(super) struct GrpcWeb {
    /// Whether its bodies are base64.
    is_text: bool,
}

impl GrpcWeb {
    /// By the content type.
    pub(super) fn detect(headers: &HeaderMap) -> Option<Self> {
        subtype(headers).map(|(is_text, _)| Self { is_text })
    }

    /// How its answers are written.
    pub(super) fn written_as(self) -> WrittenAs {
        if self.is_text { WrittenAs::GrpcWebText } else { WrittenAs::GrpcWeb }
    }

    /// Frames as they are sent.
    fn written(self, frames: Bytes) -> Bytes {
        if self.is_text { base64::encode(&frames) } else { frames }
    }

    fn content_type(self) -> HeaderValue {
        if self.is_text { TEXT } else { BINARY }
    }

    /// An answer that is a status and nothing else. It stands in the head, where its client looks first.
    fn trailers_only(self, status: &Status) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = deadline::trailers(status);
        response.headers_mut().insert(header::CONTENT_TYPE, self.content_type());
        response
    }

    fn unary(self, answer: Answer, keep: Option<Keep>) -> Response<Body> {
        let mut trailers = answer.trailers;
        let (code, message) = match answer.result {
            Ok(message) => {
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                (Code::Ok, frames::frame(&message))
            }
            Err(status) if answer.is_trailers_only => {
                let mut response = self.trailers_only(&status);
                response.headers_mut().extend(answer.head);
                return response;
            }
            Err(status) => {
                trailers.extend(deadline::trailers(&status));
                current_call::note_status(&status);
                (status.code(), Bytes::new())
            }
        };
        let body = self.written([message, trailers_frame(&trailers)].concat().into());
        let mut response = Response::new(Whole::bytes(body.clone(), answer.held));
        *response.headers_mut() = answer.head;
        response.headers_mut().insert(header::CONTENT_TYPE, self.content_type());
        // For whoever counts: neither head nor trailers say it.
        response.extensions_mut().insert(code);
        if let (Some(keep), Code::Ok) = (keep, code) {
            keep(Written { status: StatusCode::OK, head: response.headers().clone(), body, trailers: None });
        }
        response
    }
}

impl Protocol for GrpcWeb {
    const IS_BY_LINE: bool = false;

    const IS_GRPC: bool = false;

    type Codec = Self;

    fn admit(&self, parts: &mut Parts) -> Result<RequestOptions, Fault> {
        let subtype = subtype(&parts.headers).map(|(_, subtype)| subtype);
        Ok(RequestOptions { is_metadata, ..grpc::options(parts, subtype)? })
    }

    fn find(&self, table: &MethodTable, parts: &Parts) -> Result<RouteMatch<Self>, Fault> {
        grpc::at_path(table, parts, *self)
    }

    async fn read<B>(codec: &Self, method: &Method, parts: &Parts, body: B, held: &mut Held) -> Result<Bytes, Fault>
    where
        B: HttpBody<Data = Bytes, Error: Error + 'static> + Unpin,
    {
        if !codec.is_text {
            return grpc::read(method, parts, body, held).await;
        }
        let limit = method.policy.max_request_bytes;
        let text = frames::collect(body, base64::encoded(limit), Some(&mut *held)).await;
        let (text, _) = text.map_err(|error| match error {
            BodyError::TooLarge { .. } => body_fault(&BodyError::TooLarge { limit }),
            other => body_fault(&other),
        })?;
        let plain = base64::decode(&text).ok_or_else(base64::malformed)?;
        grpc::read(method, parts, Full::new(plain), held).await
    }

    fn frames(codec: &Self, _: &Method, body: PassedBody, _: &CallMemory) -> RequestFrames {
        if codec.is_text { RequestFrames::rewritten(body, Base64::default()) } else { RequestFrames::AsTheyStand(body) }
    }

    async fn respond(codec: &Self, _: &Method, reply: Reply, memory: &CallMemory) -> Result<Response<Body>, Fault> {
        let mut response = match reply {
            Reply::Unary(answer, keep) => return Ok(codec.unary(answer, keep)),
            Reply::Stream(response) => response,
        };
        response.headers_mut().insert(header::CONTENT_TYPE, codec.content_type());
        let is_over = response.headers().contains_key("grpc-status");
        if is_over {
            return Ok(response);
        }
        let held = memory.response(0)?;
        Ok(response.map(|body| AnsweredInBody::write(body, *codec, held)))
    }

    fn fault(&self, fault: &Fault) -> Response<Body> {
        self.trailers_only(fault.status())
    }
}

impl EndInBody for GrpcWeb {
    fn messages(&self, frames: Bytes) -> Bytes {
        self.written(frames)
    }

    fn end(&self, trailers: &HeaderMap) -> Bytes {
        if let Some(status) = frames::status(trailers, None) {
            current_call::note_status(&status);
        }
        self.written(trailers_frame(trailers))
    }
}

/// What follows `application/grpc-web` or `application/grpc-web-text`, and whether it is text.
fn subtype(headers: &HeaderMap) -> Option<(bool, &str)> {
    let rest = without_prefix(content_type(headers), "application/grpc-web")?.split(';').next()?.trim_end();
    let (is_text, subtype) = without_prefix(rest, "-text").map_or((false, rest), |subtype| (true, subtype));
    (subtype.is_empty() || subtype.starts_with('+')).then_some((is_text, subtype))
}

fn is_metadata(name: &HeaderName) -> bool {
    !(is_of_the_exchange(name) || *name == "x-grpc-web")
}

/// Trailers as a block of HTTP/1 headers.
fn trailers_frame(trailers: &HeaderMap) -> Bytes {
    let length: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut frame = BytesMut::with_capacity(frames::PREFIX + length);
    frame.put_u8(TRAILERS);
    // Trailers are bounded far below 4 GiB before they get here.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    for (name, value) in trailers {
        frame.put_slice(name.as_str().as_bytes());
        frame.put_slice(b": ");
        frame.put_slice(value.as_bytes());
        frame.put_slice(b"\r\n");
    }
    frame.freeze()
}
