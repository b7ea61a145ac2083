//! What a WebSocket answers: a frame for each message, then the status of a call that failed, and the close that says it as well.

use super::{
    Codec, Format,
    frame::{self, BINARY, NORMAL, TEXT},
};
use crate::{
    fault::Fault,
    memory::CallMemory,
    protocol::{
        Keep, Written,
        body::{Whole, transcoded},
        grpc as names,
        json::status_json,
        messages::Messages,
        text_memory::{TextMemory, not_declared},
    },
};
use accord_contract::{Method, STREAM_FAILURE};
use accord_transcode::Plan;
use accord_upstream::{Answer, grpc};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use prost_reflect::DescriptorPool;
use std::{convert::Infallible, sync::Arc};
use tonic::{Code, Status, body::Body};

/// A status is told by this and its code (RFC 6455, 7.4.2: for private use).
const STATUS: u16 = 4000;

/// One message or error.
pub(super) fn unary(
    codec: &Codec,
    method: &Method,
    answer: Answer,
    keep: Option<Keep>,
    memory: &CallMemory,
) -> Result<Response<Body>, Fault> {
    let message = match answer.result {
        Ok(message) => message,
        Err(status) => return Ok(status_alone(&status, Some(method.descriptor.parent_pool()))),
    };
    let (kind, payload, held) = match codec.socket.format {
        Format::Proto => (BINARY, message, answer.held),
        Format::Json => {
            let ((), text, held) = transcoded(method, &message, memory, |text, may_take| {
                codec.plan.whole_response_within(&message, text, may_take)
            })?;
            (TEXT, text, Some(held))
        }
    };
    let mut frames = Vec::with_capacity(payload.len() + 32);
    frame::put(&mut frames, kind, &payload);
    frame::put_close(&mut frames, NORMAL, "");
    let body = Bytes::from(frames);
    if let Some(keep) = keep {
        keep(Written { status: StatusCode::OK, head: HeaderMap::new(), body: body.clone(), trailers: None });
    }
    let mut response = Response::new(Whole::bytes(body, held));
    response.extensions_mut().insert(Code::Ok);
    Ok(response)
}

/// Messages as they come.
pub(super) fn stream(
    codec: &Codec,
    method: &Method,
    response: Response<Body>,
    memory: &CallMemory,
) -> Result<Response<Body>, Fault> {
    let (parts, body) = response.into_parts();
    let known = method.descriptor.parent_pool();
    if let Some(status) = grpc::status(&parts.headers, None) {
        return Ok(status_alone(&status, Some(known)));
    }
    let encoding = parts.headers.get(names::ENCODING).cloned();
    let messages = Messages::new(body, method.policy.max_response_bytes, encoding, false, memory.response(0)?);
    let writer = Writer { messages, format: codec.socket.format, plan: Arc::clone(&codec.plan), known: known.clone() };
    let frames = stream::unfold(writer, |mut writer| async move {
        let frames = writer.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(frames))), writer))
    });
    Ok(Response::new(Body::new(StreamBody::new(frames))))
}

/// An answer that is a status and nothing else.
pub(super) fn status_alone(status: &Status, known: Option<&DescriptorPool>) -> Response<Body> {
    let mut frames = Vec::new();
    put_end(&mut frames, status, known);
    let mut response = Response::new(Whole::bytes(frames.into(), None));
    // For whoever counts: neither head nor trailers say it.
    response.extensions_mut().insert(status.code());
    response
}

/// How a call ended. An error is the last text of all, also where messages are binary, and no message has a member of its name.
fn put_end(frames: &mut Vec<u8>, status: &Status, known: Option<&DescriptorPool>) {
    if status.code() == Code::Ok {
        return frame::put_close(frames, NORMAL, "");
    }
    let error = serde_json::json!({ STREAM_FAILURE: status_json(status, known) });
    frame::put(frames, TEXT, error.to_string().as_bytes());
    // A code is 16 at most.
    frame::put_close(frames, STATUS + status.code() as u16, status.message());
}

/// What is still to be written of a stream.
struct Writer {
    messages: Messages,
    format: Format,
    plan: Arc<Plan>,
    /// The types of an error's details.
    known: DescriptorPool,
}

impl Writer {
    /// The frames of all messages that the next chunk completes; none once the stream is over.
    async fn next(&mut self) -> Option<Vec<u8>> {
        while !self.messages.is_over() {
            let mut frames = Vec::new();
            let (format, plan) = (self.format, &self.plan);
            let put = |frames: &mut Vec<u8>, message: &Bytes, memory: TextMemory<'_>| {
                put_message(format, plan, message, frames, memory)
            };
            let advanced = self.messages.advance(&mut frames, put).await;
            if self.messages.is_over() {
                let status = advanced.err().unwrap_or_else(|| Status::new(Code::Ok, ""));
                put_end(&mut frames, &status, Some(&self.known));
            }
            if !frames.is_empty() {
                return Some(frames);
            }
        }
        None
    }
}

/// One message, or nothing of one that can't be written.
fn put_message(
    format: Format,
    plan: &Plan,
    message: &Bytes,
    frames: &mut Vec<u8>,
    memory: TextMemory<'_>,
) -> Result<(), Status> {
    if format == Format::Proto {
        frame::put(frames, BINARY, message);
        return Ok(());
    }
    let mut text = Vec::with_capacity(message.len() * 2);
    let written = memory.write(|may_take| plan.whole_response_within(message, &mut text, may_take), not_declared);
    written.map_err(|fault| fault.status().clone())?;
    frame::put(frames, TEXT, &text);
    Ok(())
}
