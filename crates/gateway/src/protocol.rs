//! The seam between protocols: one file each, with the same six functions.
//!
//! Nothing outside this module asks which protocol a call speaks. A new one is a file with an implementation of
//! [`Protocol`], a line in [`WireProtocol::detect`], and an arm wherever the compiler then asks for one.

mod body;
mod compression;
mod connect;
mod content;
mod details;
mod frames;
mod grpc;
mod grpc_web;
pub(crate) mod http_status;
mod json;
mod messages;
mod options;
pub mod parsers;
mod text_memory;
mod websocket;
mod weight;

use crate::{
    fault::Fault,
    memory::CallMemory,
    table::{MethodEntry, MethodTable, Tables},
};
use accord_contract::Method;
use accord_runtime::fair_share::Held;
use accord_upstream::Answer;
use body::Whole;
use bytes::Bytes;
pub use compression::CompressionConfig;
pub(crate) use compression::{Coding, Compression, compressed};
use connect::Connect;
pub(crate) use frames::{PassedBody, RequestFrames};
use grpc::Grpc;
use grpc_web::GrpcWeb;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header, request::Parts};
use http_body::Body as HttpBody;
use json::Json;
pub(crate) use options::{CacheControl, Consistency, Malformed, RequestOptions};
use std::{error::Error, sync::Arc};
use tonic::body::Body;
use websocket::WebSocket;
pub(crate) use websocket::{KeepAlive, WebSockets};

/// What a protocol knows how to do, in the order in which a request meets it.
trait Protocol {
    /// Whether the request line says what is asked, or a part of it.
    const IS_BY_LINE: bool;

    /// Whether its bodies are gRPC's own, so that a gRPC server can read and answer them as they stand.
    const IS_GRPC: bool;

    /// What reading and answering need beside the method: how this call's messages are written.
    type Codec;

    /// What the caller asks for. Refuses what looks like this protocol and is not served. What a gRPC server knows under another
    /// name is renamed.
    fn admit(&self, parts: &mut Parts) -> Result<RequestOptions, Fault>;

    /// The called method, and what of the body has to be looked at.
    fn find(&self, table: &MethodTable, parts: &Parts) -> Result<RouteMatch<Self::Codec>, Fault>;

    /// The one message of a request, within the size limit of its method. What is read is held.
    async fn read<B>(
        codec: &Self::Codec,
        method: &Method,
        parts: &Parts,
        body: B,
        held: &mut Held,
    ) -> Result<Bytes, Fault>
    where
        B: HttpBody<Data = Bytes, Error: Error + 'static> + Unpin;

    /// The frames of a request's body, one by one as they come, where it is passed on. Bodies of gRPC are their frames.
    fn frames(_: &Self::Codec, _: &Method, body: PassedBody, _: &CallMemory) -> RequestFrames {
        RequestFrames::AsTheyStand(body)
    }

    /// The answer to a call that reached its method.
    async fn respond(
        codec: &Self::Codec,
        method: &Method,
        reply: Reply,
        memory: &CallMemory,
    ) -> Result<Response<Body>, Fault>;

    /// The answer to a call that ended in the gateway.
    fn fault(&self, fault: &Fault) -> Response<Body>;
}

/// The protocol of a caller, and how it wants to be answered.
#[derive(Clone, Copy)]
pub(crate) struct WireProtocol(Kind);

#[derive(Clone, Copy)]
enum Kind {
    Grpc(Grpc),
    GrpcWeb(GrpcWeb),
    Connect(Connect),
    Json(Json),
    WebSocket(WebSocket),
}

/// A method, and how it was called.
pub(crate) struct RouteMatch<C = Codec> {
    /// The method.
    pub entry: Arc<MethodEntry>,
    /// What of the body has to be looked at.
    pub mode: BodyMode,
    codec: C,
}

/// What of the body the gateway has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyMode {
    /// No message: bytes in, bytes out, or frame by frame where they are written otherwise.
    PassThrough,
    /// One message in, one out.
    Unary,
    /// One message in, a stream of them out.
    ServerStream,
}

/// How the messages of one call are written.
pub(crate) struct Codec(CodecKind);

enum CodecKind {
    Grpc(<Grpc as Protocol>::Codec),
    GrpcWeb(<GrpcWeb as Protocol>::Codec),
    Connect(<Connect as Protocol>::Codec),
    Json(<Json as Protocol>::Codec),
    WebSocket(<WebSocket as Protocol>::Codec),
}

/// A response in hand.
pub(crate) struct Written {
    /// Its HTTP status.
    pub status: StatusCode,
    /// Its head, as the protocol writes it.
    pub head: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Its trailers, where the protocol has them.
    pub trailers: Option<HeaderMap>,
}

/// Takes a message as it is written, to give it again.
pub(crate) type Keep = Box<dyn FnOnce(Written) + Send>;

/// What came back for a call that reached its method.
pub(crate) enum Reply {
    /// One message or error, and who keeps it as it is written.
    Unary(Answer, Option<Keep>),
    /// Messages in gRPC frames, and a status in the head or in the trailers.
    Stream(Response<Body>),
}

/// How an answer is written. Two that are written alike are the same bytes for the same message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WrittenAs {
    Grpc,
    GrpcWeb,
    GrpcWebText,
    ConnectProto,
    ConnectJson,
    Json,
    WebSocketJson,
    WebSocketProto,
}

impl WireProtocol {
    /// Detected before anything else, so that a refusal can already be answered in the caller's protocol. Whoever sends gRPC
    /// on HTTP/1.1 can't read an answer in gRPC. The table says which paths are methods' own: JSON that is posted there is a
    /// unary call of Connect.
    pub(crate) fn detect<B>(request: &Request<B>, tables: &Tables) -> Self {
        let headers = request.headers();
        if request.version() == Version::HTTP_2 && grpc_subtype(headers).is_some() {
            return Self(Kind::Grpc(Grpc));
        }
        if let Some(socket) = WebSocket::detect(request) {
            return Self(Kind::WebSocket(socket));
        }
        if let Some(web) = GrpcWeb::detect(headers) {
            return Self(Kind::GrpcWeb(web));
        }
        match Connect::detect(request, tables) {
            Some(connect) => Self(Kind::Connect(connect)),
            None => Self(Kind::Json(Json::new(headers))),
        }
    }

    /// Its name in the access log and in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            Kind::Grpc(_) => "grpc",
            Kind::GrpcWeb(_) => "grpc_web",
            Kind::Connect(_) => "connect",
            Kind::Json(_) => "json",
            Kind::WebSocket(_) => "websocket",
        }
    }

    /// Whether a gRPC server can answer the request as it stands.
    pub(crate) fn is_answered_by_grpc_servers(self) -> bool {
        match self.0 {
            Kind::Grpc(_) => Grpc::IS_GRPC,
            Kind::GrpcWeb(_) => GrpcWeb::IS_GRPC,
            Kind::Connect(_) => Connect::IS_GRPC,
            Kind::Json(_) => Json::IS_GRPC,
            Kind::WebSocket(_) => WebSocket::IS_GRPC,
        }
    }

    /// How the caller would rather have its answer compressed, where its protocol leaves that to HTTP.
    pub(crate) fn coding(self) -> Option<Coding> {
        match self.0 {
            Kind::Json(json) => json.coding(),
            Kind::Connect(connect) => connect.coding(),
            Kind::Grpc(_) | Kind::GrpcWeb(_) | Kind::WebSocket(_) => None,
        }
    }

    /// What the caller asks for.
    pub(crate) fn admit(self, parts: &mut Parts) -> Result<RequestOptions, Fault> {
        match self.0 {
            Kind::Grpc(grpc) => grpc.admit(parts),
            Kind::GrpcWeb(web) => web.admit(parts),
            Kind::Connect(connect) => connect.admit(parts),
            Kind::Json(json) => json.admit(parts),
            Kind::WebSocket(socket) => socket.admit(parts),
        }
    }

    /// The called method: one canonical name, whatever the protocol, used by everything after it.
    pub(crate) fn find(self, table: &MethodTable, parts: &Parts) -> Result<RouteMatch, Fault> {
        match self.0 {
            Kind::Grpc(grpc) => grpc.find(table, parts).map(|route| route.map(CodecKind::Grpc)),
            Kind::GrpcWeb(web) => web.find(table, parts).map(|route| route.map(CodecKind::GrpcWeb)),
            Kind::Connect(connect) => connect.find(table, parts).map(|route| route.map(CodecKind::Connect)),
            Kind::Json(json) => json.find(table, parts).map(|route| route.map(CodecKind::Json)),
            Kind::WebSocket(socket) => socket.find(table, parts).map(|route| route.map(CodecKind::WebSocket)),
        }
    }

    /// A fault, in the caller's own protocol.
    pub(crate) fn fault(self, fault: &Fault) -> Response<Body> {
        let mut response = match self.0 {
            Kind::Grpc(grpc) => grpc.fault(fault),
            Kind::GrpcWeb(web) => web.fault(fault),
            Kind::Connect(connect) => connect.fault(fault),
            Kind::Json(json) => json.fault(fault),
            Kind::WebSocket(socket) => socket.fault(fault),
        };
        fault.add_headers(response.headers_mut());
        response
    }
}

impl RouteMatch {
    /// Whether the request line says what is asked, or a part of it.
    pub(crate) fn is_by_line(&self) -> bool {
        match &self.codec.0 {
            CodecKind::Grpc(()) => Grpc::IS_BY_LINE,
            CodecKind::GrpcWeb(_) => GrpcWeb::IS_BY_LINE,
            CodecKind::Connect(_) => Connect::IS_BY_LINE,
            CodecKind::Json(_) => Json::IS_BY_LINE,
            CodecKind::WebSocket(_) => WebSocket::IS_BY_LINE,
        }
    }

    /// The HTTP binding by which it was called, such as `GET /v1/products/{id}`; none on a method's own path.
    pub(crate) fn binding(&self) -> Option<&str> {
        match &self.codec.0 {
            CodecKind::Json(codec) => codec.binding(),
            CodecKind::Grpc(()) | CodecKind::GrpcWeb(_) | CodecKind::Connect(_) | CodecKind::WebSocket(_) => None,
        }
    }

    /// The headers of a read that its answer varies by, as the contract declares.
    pub(crate) fn varies_by(&self, parts: &Parts) -> Option<&HeaderValue> {
        let is_read = self.is_by_line() && matches!(parts.method, http::Method::GET | http::Method::HEAD);
        self.entry.vary.as_ref().filter(|_| is_read)
    }

    /// How its answer is to be compressed, where its protocol leaves that to HTTP.
    pub(crate) fn coding(&self) -> Option<Coding> {
        match &self.codec.0 {
            CodecKind::Json(codec) => codec.coding(),
            CodecKind::Connect(codec) => codec.coding(),
            CodecKind::Grpc(()) | CodecKind::GrpcWeb(_) | CodecKind::WebSocket(_) => None,
        }
    }

    /// How its answer is written.
    pub(crate) fn written_as(&self) -> WrittenAs {
        match &self.codec.0 {
            CodecKind::Grpc(()) => WrittenAs::Grpc,
            CodecKind::GrpcWeb(web) => web.written_as(),
            CodecKind::Connect(codec) => codec.written_as(),
            CodecKind::Json(_) => WrittenAs::Json,
            CodecKind::WebSocket(codec) => codec.written_as(),
        }
    }

    /// Reads the one message of a request, within the size limit of its method. What is read is held.
    pub(crate) async fn read<B>(&self, parts: &Parts, body: B, held: &mut Held) -> Result<Bytes, Fault>
    where
        B: HttpBody<Data = Bytes, Error: Error + 'static> + Unpin,
    {
        let method = &self.entry.method;
        match &self.codec.0 {
            CodecKind::Grpc(codec) => Grpc::read(codec, method, parts, body, held).await,
            CodecKind::GrpcWeb(codec) => GrpcWeb::read(codec, method, parts, body, held).await,
            CodecKind::Connect(codec) => Connect::read(codec, method, parts, body, held).await,
            CodecKind::Json(codec) => Json::read(codec, method, parts, body, held).await,
            CodecKind::WebSocket(codec) => WebSocket::read(codec, method, parts, body, held).await,
        }
    }

    /// The frames of a request's body, where it is passed on.
    pub(crate) fn frames(&self, body: PassedBody, memory: &CallMemory) -> RequestFrames {
        let method = &self.entry.method;
        match &self.codec.0 {
            CodecKind::Grpc(codec) => Grpc::frames(codec, method, body, memory),
            CodecKind::GrpcWeb(codec) => GrpcWeb::frames(codec, method, body, memory),
            CodecKind::Connect(codec) => Connect::frames(codec, method, body, memory),
            CodecKind::Json(codec) => Json::frames(codec, method, body, memory),
            CodecKind::WebSocket(codec) => WebSocket::frames(codec, method, body, memory),
        }
    }

    /// An answer, in the caller's own protocol.
    pub(crate) async fn respond(&self, reply: Reply, memory: &CallMemory) -> Result<Response<Body>, Fault> {
        let method = &self.entry.method;
        match &self.codec.0 {
            CodecKind::Grpc(codec) => Grpc::respond(codec, method, reply, memory).await,
            CodecKind::GrpcWeb(codec) => GrpcWeb::respond(codec, method, reply, memory).await,
            CodecKind::Connect(codec) => Connect::respond(codec, method, reply, memory).await,
            CodecKind::Json(codec) => Json::respond(codec, method, reply, memory).await,
            CodecKind::WebSocket(codec) => WebSocket::respond(codec, method, reply, memory).await,
        }
    }
}

impl<C> RouteMatch<C> {
    fn map(self, kind: impl FnOnce(C) -> CodecKind) -> RouteMatch {
        RouteMatch { entry: self.entry, mode: self.mode, codec: Codec(kind(self.codec)) }
    }
}

impl Written {
    /// The same response again.
    pub(crate) fn respond(&self) -> Response<Body> {
        let body = self.body.clone();
        let mut response = Response::new(match &self.trailers {
            Some(trailers) => Whole::with_trailers(body, trailers.clone(), None),
            None => Whole::bytes(body, None),
        });
        *response.status_mut() = self.status;
        response.headers_mut().clone_from(&self.head);
        response
    }
}

/// What follows `application/grpc`, without parameters: nothing, or how messages are written.
fn grpc_subtype(headers: &HeaderMap) -> Option<&str> {
    let subtype = without_prefix(content_type(headers), "application/grpc")?.split(';').next()?.trim_end();
    (subtype.is_empty() || subtype.starts_with('+')).then_some(subtype)
}

/// What follows a prefix of a media type, whose case says nothing (RFC 9110, 8.3.1).
fn without_prefix<'a>(media_type: &'a str, prefix: &str) -> Option<&'a str> {
    let (begin, rest) = media_type.split_at_checked(prefix.len())?;
    begin.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
