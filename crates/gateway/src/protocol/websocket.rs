//! WebSocket (RFC 6455) on HTTP/1.1: calls of every kind from pages, where nothing else streams both ways. One message a frame, in
//! text as JSON and in binary as protobuf; an empty text ends the client's messages.
//!
//! The connection has been upgraded before the request gets here: what the client sends comes by the [`Socket`] in its extensions, and
//! the body of the answer is the frames that go back.

mod answer;
mod connection;
mod frame;
mod handshake;
mod socket;
mod upgrade;

use super::{
    BodyMode, PassedBody, Protocol, Reply, RequestFrames, RequestOptions, RouteMatch, WrittenAs,
    body::body_fault,
    json::{self, Json},
};
use crate::{
    fault::Fault,
    memory::{self, CallMemory},
    method,
    table::MethodTable,
};
use accord_contract::{Method, MethodKind};
use accord_runtime::{call_record::CallRecord, fair_share::Held};
use accord_transcode::Plan;
use accord_upstream::grpc::BodyError;
use bytes::Bytes;
pub(crate) use connection::KeepAlive;
pub(super) use frame::{Decoder, Event};
use handshake::Refused;
use http::{HeaderMap, Request, Response, header, request::Parts};
use http_body::Body as HttpBody;
pub(super) use socket::Socket;
use socket::SocketFrames;
use std::{error::Error, future::poll_fn, sync::Arc};
use tonic::body::Body;
pub(crate) use upgrade::WebSockets;

/// A call by a WebSocket.
#[derive(Clone, Copy)]
pub(super) struct WebSocket {
    /// Why none was opened.
    refused: Option<Refused>,
}

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Proto,
}

/// How one call's messages come and go.
pub(super) struct Codec {
    plan: Arc<Plan>,
    socket: Socket,
}

impl Format {
    fn offered(name: &str) -> Option<Self> {
        [Self::Json, Self::Proto].into_iter().find(|format| format.subprotocol() == name)
    }

    fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "accord.json",
            Self::Proto => "accord.proto",
        }
    }
}

impl WebSocket {
    /// By what was made of its handshake.
    pub(super) fn detect<B>(request: &Request<B>) -> Option<Self> {
        if !request.headers().contains_key(header::UPGRADE) {
            return None;
        }
        let refused = request.extensions().get::<Refused>().copied();
        let is_open = request.extensions().get::<Socket>().is_some();
        (is_open || refused.is_some()).then_some(Self { refused })
    }
}

impl Codec {
    /// How its answers are written.
    pub(super) fn written_as(&self) -> WrittenAs {
        match self.socket.format {
            Format::Json => WrittenAs::WebSocketJson,
            Format::Proto => WrittenAs::WebSocketProto,
        }
    }
}

impl Protocol for WebSocket {
    const IS_BY_LINE: bool = false;

    const IS_GRPC: bool = false;

    type Codec = Codec;

    fn admit(&self, parts: &mut Parts) -> Result<RequestOptions, Fault> {
        match self.refused {
            Some(refused) => Err(refused.fault()),
            None => Ok(json::options(&parts.headers)),
        }
    }

    /// At the method's own path.
    fn find(&self, table: &MethodTable, parts: &Parts) -> Result<RouteMatch<Codec>, Fault> {
        let entry = Arc::clone(method::at_path(table, parts.uri.path())?);
        let socket = parts.extensions.get::<Socket>().cloned().ok_or_else(Fault::defect)?;
        let mode = match entry.method.kind {
            MethodKind::Unary => BodyMode::Unary,
            MethodKind::ServerStreaming => BodyMode::ServerStream,
            MethodKind::ClientStreaming | MethodKind::BidiStreaming => BodyMode::PassThrough,
        };
        let codec = Codec { plan: Arc::clone(&entry.plan), socket };
        Ok(RouteMatch { entry, mode, codec })
    }

    /// The first message is the request. What comes after it is left.
    async fn read<B>(codec: &Codec, method: &Method, parts: &Parts, _: B, held: &mut Held) -> Result<Bytes, Fault>
    where
        B: HttpBody<Data = Bytes, Error: Error + 'static> + Unpin,
    {
        let mut messages = codec.socket.messages(&codec.plan, method);
        let next = poll_fn(|context| messages.poll_next(context, held)).await;
        let message = next.unwrap_or_else(|| Err(body_fault(&BodyError::Malformed("there is no message"))))?;
        held.set(message.len() as u64).map_err(memory::shed)?;
        if let Some(record) = parts.extensions.get::<CallRecord>() {
            record.add_request_bytes(message.len());
        }
        Ok(message)
    }

    fn frames(codec: &Codec, method: &Method, _: PassedBody, memory: &CallMemory) -> RequestFrames {
        RequestFrames::Made(Body::new(SocketFrames::new(codec.socket.messages(&codec.plan, method), memory.request())))
    }

    async fn respond(
        codec: &Codec,
        method: &Method,
        reply: Reply,
        memory: &CallMemory,
    ) -> Result<Response<Body>, Fault> {
        match reply {
            Reply::Unary(answer, keep) => answer::unary(codec, method, answer, keep, memory),
            Reply::Stream(response) => answer::stream(codec, method, response, memory),
        }
    }

    fn fault(&self, fault: &Fault) -> Response<Body> {
        match self.refused {
            // There are no frames yet.
            Some(_) => Json::new(&HeaderMap::new()).fault(fault),
            None => answer::status_alone(fault.status(), None),
        }
    }
}
