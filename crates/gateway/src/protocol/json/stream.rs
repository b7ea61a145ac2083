//! A server stream for callers without gRPC: a JSON text per message, as lines (NDJSON) or as events (SSE).

use super::{Codec, accept, add_metadata, error};
use crate::{
    fault::Fault,
    memory::{self, CallMemory},
};
use accord_contract::Method;
use accord_runtime::fair_share::Held;
use accord_transcode::Plan;
use accord_upstream::grpc::{self, Deframer};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
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

    /// An error is the last thing of a stream whose head has already said 200.
    fn error(self, status: &Status, known: Option<&DescriptorPool>) -> Vec<u8> {
        let error = error::status_json(status, known);
        match self {
            Self::Lines => format!("{}\n", serde_json::json!({ "error": error })).into(),
            Self::Events => format!("event: error\ndata: {error}\n\n").into(),
        }
    }
}

/// What is still to be written of a stream.
struct Writer {
    body: Body,
    frames: Deframer,
    encoding: Option<HeaderValue>,
    plan: Arc<Plan>,
    framing: Framing,
    /// The types of an error's details.
    known: DescriptorPool,
    is_over: bool,
    /// What is in memory of it: messages that are not whole yet, and the text of those that are.
    held: Held,
}

/// Turns the upstream's stream into JSON as it comes. An error before the first message is a plain error answer.
pub(super) fn respond(
    codec: &Codec,
    method: &Method,
    response: Response<Body>,
    memory: &CallMemory,
) -> Result<Response<Body>, Fault> {
    let (parts, body) = response.into_parts();
    if let Some(status) = grpc::status(&parts.headers, None).filter(|status| status.code() != Code::Ok) {
        return Ok(codec.json.error(&status, method));
    }
    let framing = codec.json.framing;
    let writer = Writer {
        body,
        frames: Deframer::new(method.policy.max_response_bytes),
        encoding: parts.headers.get("grpc-encoding").cloned(),
        plan: Arc::clone(&codec.plan),
        framing,
        known: method.descriptor.parent_pool().clone(),
        is_over: false,
        held: memory.response(0)?,
    };
    let chunks = stream::unfold(writer, |mut writer| async move {
        let text = writer.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), writer))
    });
    let mut response = Response::new(Body::new(StreamBody::new(chunks)));
    add_metadata(&parts.headers, false, response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, framing.content_type());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

impl Writer {
    /// The text of all messages that the next chunk completes; none once the stream is over.
    async fn next(&mut self) -> Option<Vec<u8>> {
        while !self.is_over {
            let mut text = Vec::new();
            if let Err(status) = self.advance(&mut text).await {
                self.is_over = true;
                text.extend(self.framing.error(&status, Some(&self.known)));
            }
            if !text.is_empty() {
                return Some(text);
            }
        }
        None
    }

    async fn advance(&mut self, text: &mut Vec<u8>) -> Result<(), Status> {
        let Some(frame) = self.body.frame().await else { return Err(Fault::without_status().status().clone()) };
        match frame.map_err(|_| Fault::without_status().status().clone())?.into_data() {
            Ok(data) => {
                self.frames.push(&data);
                self.hold(text)?;
                self.messages(text)?;
                self.hold(text)
            }
            Err(frame) => {
                self.is_over = true;
                let status = frame.into_trailers().ok().and_then(|trailers| grpc::status(&trailers, None));
                match status.unwrap_or_else(|| Fault::without_status().status().clone()) {
                    status if status.code() == Code::Ok => Ok(()),
                    status => Err(status),
                }
            }
        }
    }

    fn hold(&mut self, text: &[u8]) -> Result<(), Status> {
        let bytes = self.frames.buffered() + text.len();
        self.held.set(bytes as u64).map_err(|shed| memory::shed(shed).status().clone())
    }

    /// What comes before a message that can't be written is written.
    fn messages(&mut self, text: &mut Vec<u8>) -> Result<(), Status> {
        let unusable = |error| Fault::malformed(format!("the stream can't be used: {error}")).status().clone();
        while let Some(message) = self.frames.next(self.encoding.as_ref()).map_err(unusable)? {
            let plan = &self.plan;
            self.framing.message(text, |text| write_message(plan, &message, text))?;
        }
        Ok(())
    }
}

fn write_message(plan: &Plan, message: &Bytes, text: &mut Vec<u8>) -> Result<(), Status> {
    plan.response(message, text).map(drop).map_err(|error| {
        let fault = Fault::malformed(format!("a message of the stream is not the declared one: {error}"));
        fault.status().clone()
    })
}
