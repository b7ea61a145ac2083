//! A server stream for callers without gRPC: a JSON text per message, as lines (NDJSON) or as events (SSE); or the bytes of
//! `google.api.HttpBody` as they come.

mod keep_alive;
mod raw;

use super::{Codec, accept, add_metadata, add_trailers, error};
use crate::{
    fault::Fault,
    memory::CallMemory,
    protocol::{
        messages::Messages,
        text_memory::{TextMemory, not_declared},
    },
};
use accord_contract::{Method, STREAM_FAILURE as FAILURE};
use accord_transcode::Plan;
use accord_upstream::{Answer, grpc};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::StreamBody;
use keep_alive::KeepAlive;
use prost_reflect::DescriptorPool;
use std::{convert::Infallible, sync::Arc};
use tonic::{Code, Status, body::Body};

const LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";

/// How messages are separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// One line each.
    Lines,
    /// One event each.
    Events,
}

impl Framing {
    /// Events where the caller would rather have them, lines otherwise.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if accept::prefers(headers, EVENTS, LINES) { Self::Events } else { Self::Lines }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Lines => LINES,
            Self::Events => EVENTS,
        })
    }

    /// One message, or nothing of one that can't be written.
    fn message(self, text: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Status>) -> Result<(), Status> {
        let begin = text.len();
        if self == Self::Events {
            text.extend_from_slice(b"data: ");
        }
        write(text).inspect_err(|_| text.truncate(begin))?;
        text.extend_from_slice(if self == Self::Events { b"\n\n" } else { b"\n" });
        Ok(())
    }

    /// An error is the last thing of a stream whose head has already said 200. No message has a member of that name.
    fn error(self, status: &Status, known: Option<&DescriptorPool>) -> Vec<u8> {
        let error = error::status_json(status, known);
        match self {
            Self::Lines => format!("{}\n", serde_json::json!({ FAILURE: error })).into(),
            Self::Events => format!("event: error\ndata: {error}\n\n").into(),
        }
    }
}

/// What is still to be written of a stream.
struct Writer {
    messages: Messages,
    plan: Arc<Plan>,
    framing: Framing,
    /// The types of an error's details.
    known: DescriptorPool,
}

/// Turns the upstream's stream into JSON as it comes. An error before the first message is a plain error answer.
pub(super) async fn respond(
    codec: &Codec,
    method: &Method,
    response: Response<Body>,
    memory: &CallMemory,
) -> Result<Response<Body>, Fault> {
    let (parts, body) = response.into_parts();
    let ended = grpc::status(&parts.headers, None);
    if let Some(status) = ended.as_ref().filter(|status| status.code() != Code::Ok) {
        return Ok(codec.json.error(status, method));
    }
    let encoding = parts.headers.get("grpc-encoding").cloned();
    let held = memory.response(0)?;
    let messages = Messages::new(body, method.policy.max_response_bytes, encoding, ended.is_some(), held);
    let mut response = if codec.plan.gives_any_content() {
        match raw::respond(codec, &parts.headers, messages).await {
            Ok(response) => response,
            Err(status) => return Ok(codec.json.error(&status, method)),
        }
    } else {
        written(codec, method, &parts.headers, messages)
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// The one answer of a method to which a stream was uploaded.
pub(super) async fn only(method: &Method, response: Response<Body>, memory: &CallMemory) -> Result<Answer, Fault> {
    let (parts, body) = response.into_parts();
    if let Some(status) = grpc::status(&parts.headers, None) {
        return Ok(Answer { head: parts.headers, ..Answer::new(Err(status)) });
    }
    let encoding = parts.headers.get("grpc-encoding").cloned();
    let mut messages = Messages::new(body, method.policy.max_response_bytes, encoding, false, memory.response(0)?);
    let (mut message, mut result) = (None, Ok(()));
    while !messages.is_over() {
        let keep = |_: &mut Vec<u8>, next: &Bytes, _: TextMemory<'_>| {
            message = Some(next.clone());
            Ok(())
        };
        result = messages.advance(&mut Vec::new(), keep).await;
    }
    let message = message.ok_or_else(|| Fault::not_one_message().status().clone());
    let trailers = messages.trailers().clone();
    Ok(Answer { head: parts.headers, trailers, ..Answer::new(result.and(message)) })
}

fn written(codec: &Codec, method: &Method, head: &HeaderMap, messages: Messages) -> Response<Body> {
    let framing = codec.json.framing;
    let known = method.descriptor.parent_pool().clone();
    let reads_trailers = codec.json.reads_trailers;
    let writer = Writer { messages, plan: Arc::clone(&codec.plan), framing, known };
    let frames = stream::unfold(Some(writer), move |writer| async move {
        let mut writer = writer?;
        match writer.next().await {
            Some(text) => Some((Frame::data(Bytes::from(text)), Some(writer))),
            None => Some((trailers(&writer.messages, reads_trailers)?, None)),
        }
    });
    let mut response = Response::new(match framing {
        Framing::Lines => body_of(frames),
        Framing::Events => body_of(KeepAlive::new(frames)),
    });
    add_metadata(head, false, response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, framing.content_type());
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn body_of(frames: impl Stream<Item = Frame<Bytes>> + Send + 'static) -> Body {
    Body::new(StreamBody::new(frames.map(Ok::<_, Infallible>)))
}

/// The trailing metadata of a stream that is over, for a caller that reads it; none where there is none.
fn trailers(messages: &Messages, reads_trailers: bool) -> Option<Frame<Bytes>> {
    let mut trailers = HeaderMap::new();
    if reads_trailers {
        add_trailers(messages.trailers(), &mut trailers);
    }
    (!trailers.is_empty()).then(|| Frame::trailers(trailers))
}

impl Writer {
    /// The text of all messages that the next chunk completes; none once the stream is over. What comes before a message
    /// that can't be written is written.
    async fn next(&mut self) -> Option<Vec<u8>> {
        while !self.messages.is_over() {
            let mut text = Vec::new();
            let (framing, plan) = (self.framing, &self.plan);
            let put = |text: &mut Vec<u8>, message: &Bytes, memory: TextMemory<'_>| {
                framing.message(text, |text| write_message(plan, message, text, memory))
            };
            if let Err(status) = self.messages.advance(&mut text, put).await {
                text.extend(framing.error(&status, Some(&self.known)));
            }
            if !text.is_empty() {
                return Some(text);
            }
        }
        None
    }
}

fn write_message(plan: &Plan, message: &Bytes, text: &mut Vec<u8>, memory: TextMemory<'_>) -> Result<(), Status> {
    let written = memory.write(|may_take| plan.response_within(message, text, may_take), not_declared);
    written.map(drop).map_err(|fault| fault.status().clone())
}

#[cfg(test)]
pub(super) mod tests;
