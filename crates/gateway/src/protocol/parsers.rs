//! What reads the bytes that callers and upstreams send, as functions: for whoever feeds it bytes of their own, as the fuzz
//! targets do.

use super::{
    connect::{self, query::Query},
    content::Encoding,
    details,
    frames::{BegunFrame, Rewrite},
    grpc_web::base64::{self, Base64},
    json,
    websocket::{Decoder, Event},
};
use bytes::{Bytes, BytesMut};
use http::Uri;
use prost_reflect::DescriptorPool;
use serde_json::Value;
use std::time::Duration;
use tonic::Status;

/// A body of gRPC-Web in its text form, read as a whole.
pub fn grpc_web_text(text: &[u8]) -> Option<Bytes> {
    base64::decode(text)
}

/// The same, read in chunks as they come.
pub fn grpc_web_text_in_chunks<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let (mut decoder, mut plain) = (Base64::default(), Vec::new());
    for chunk in chunks {
        plain.extend_from_slice(&decoder.chunk(chunk).ok()?);
    }
    plain.extend_from_slice(&decoder.end().ok()?);
    Some(plain)
}

/// The frames that each chunk of an answer completes.
pub fn whole_frames<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Bytes> {
    let mut begun = BegunFrame::default();
    chunks.into_iter().map(|chunk| begun.push(Bytes::copy_from_slice(chunk))).collect()
}

/// What a client says by a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebSocketFrame {
    /// A message as text, which nobody has looked at yet.
    Text(Vec<u8>),
    /// A message as bytes.
    Binary(Vec<u8>),
    /// To be answered with the same bytes.
    Ping(Vec<u8>),
    /// The answer to a ping.
    Pong,
    /// The end, with its code.
    Close(Option<u16>),
}

/// What a client says by a WebSocket until it closes it, its messages put together from what comes in chunks; and why what follows is
/// no WebSocket.
pub fn websocket_frames<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<WebSocketFrame>, Option<&'static str>) {
    let (mut decoder, mut buffer, mut frames, mut message) =
        (Decoder::default(), BytesMut::new(), Vec::new(), Vec::new());
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            match decoder.next(&mut buffer) {
                Ok(Some(Event::Piece(piece))) => {
                    message.extend_from_slice(&piece.bytes);
                    if piece.is_last {
                        let message = std::mem::take(&mut message);
                        let kind = if piece.is_text { WebSocketFrame::Text } else { WebSocketFrame::Binary };
                        frames.push(kind(message));
                    }
                }
                Ok(Some(Event::Ping(payload))) => frames.push(WebSocketFrame::Ping(payload.to_vec())),
                Ok(Some(Event::Pong)) => frames.push(WebSocketFrame::Pong),
                Ok(Some(Event::Close(code))) => {
                    frames.push(WebSocketFrame::Close(code));
                    return (frames, None);
                }
                Ok(None) => break,
                Err(problem) => return (frames, Some(problem)),
            }
        }
    }
    (frames, None)
}

/// The body of a request of at most `limit` bytes, under the `content-encoding` of this name.
pub fn inflated(content_encoding: &str, body: Bytes, limit: u64) -> Option<Bytes> {
    Encoding::named(content_encoding).ok()?.decode(body, limit).ok()
}

/// The message in the query of a GET of Connect.
pub fn connect_message(uri: &Uri) -> Option<Vec<u8>> {
    Query::of(uri)?.message().ok()
}

/// `connect-timeout-ms`.
pub fn connect_timeout(text: &str) -> Option<Duration> {
    connect::parse_milliseconds(text)
}

/// `request-timeout`, in seconds.
pub fn request_timeout(text: &str) -> Option<Duration> {
    json::parse_seconds(text)
}

/// The details of a status as JSON, with the types that are known.
pub fn details(status: &Status, known: Option<&DescriptorPool>) -> Value {
    details::json(status, known)
}
