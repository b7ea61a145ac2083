//! Streams: messages in envelopes, which are gRPC's frames, and a last one that says in JSON how the call ended.

use super::{ACCEPT_ENCODING, Codec, ENCODING, Format, Shape, error};
use crate::{
    fault::Fault,
    memory::{self, CallMemory},
    protocol::{
        body::{Whole, add_metadata, body_fault},
        frames::{AnsweredInBody, EndInBody, Rewrite},
        grpc as names,
        json::violation,
        messages::Messages,
        text_memory::{TextMemory, not_declared},
    },
};
use accord_contract::Method;
use accord_runtime::{current_call, fair_share::Held};
use accord_transcode::Plan;
use accord_upstream::grpc::{self, Deframer};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::StreamBody;
use prost_reflect::DescriptorPool;
use serde_json::{Map, Value};
use std::{convert::Infallible, sync::Arc};
use tonic::{Code, Status, body::Body};

/// The flag of the envelope that ends a stream.
const END: u8 = 2;

/// The answer to a call that reached its method.
pub(super) fn respond(
    codec: &Codec,
    method: &Method,
    response: Response<Body>,
    memory: &CallMemory,
) -> Result<Response<Body>, Fault> {
    let (parts, body) = response.into_parts();
    let known = method.descriptor.parent_pool();
    if let Some(status) = grpc::status(&parts.headers, None) {
        let mut response = status_alone(&status, codec.format, Some(known));
        add_metadata(&parts.headers, false, response.headers_mut());
        return Ok(response);
    }
    let encoding = parts.headers.get(names::ENCODING).cloned();
    let held = memory.response(0)?;
    let (body, encoding) = match codec.format {
        Format::Proto => (AnsweredInBody::write(body, End { known: known.clone() }, held), encoding),
        Format::Json => {
            let messages = Messages::new(body, method.policy.max_response_bytes, encoding, false, held);
            (json(messages, &codec.plan, known.clone()), None)
        }
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    add_metadata(&parts.headers, false, headers);
    headers.insert(header::CONTENT_TYPE, codec.format.content_type(Shape::Stream));
    for (name, value) in [(ENCODING, encoding), (ACCEPT_ENCODING, parts.headers.get(names::ACCEPT_ENCODING).cloned())] {
        value.and_then(|value| headers.insert(name, value));
    }
    Ok(response)
}

/// An answer that is a status and nothing else.
pub(super) fn status_alone(status: &Status, format: Format, known: Option<&DescriptorPool>) -> Response<Body> {
    let end = end_of_stream(status, &HeaderMap::new(), known);
    let mut response = Response::new(Whole::bytes(end, None));
    response.headers_mut().insert(header::CONTENT_TYPE, format.content_type(Shape::Stream));
    response.extensions_mut().insert(status.code());
    response
}

/// Envelopes as they come from the upstream.
struct End {
    /// The types of an error's details.
    known: DescriptorPool,
}

impl EndInBody for End {
    fn messages(&self, frames: Bytes) -> Bytes {
        frames
    }

    fn end(&self, trailers: &HeaderMap) -> Bytes {
        let status = grpc::status(trailers, None).unwrap_or_else(|| Fault::without_status().status().clone());
        current_call::note_status(&status);
        end_of_stream(&status, trailers, Some(&self.known))
    }
}

/// Envelopes of JSON, of all messages that a chunk completes.
fn json(messages: Messages, plan: &Arc<Plan>, known: DescriptorPool) -> Body {
    let plan = Arc::clone(plan);
    let envelopes = stream::unfold(messages, move |mut messages| {
        let (plan, known) = (Arc::clone(&plan), known.clone());
        async move {
            while !messages.is_over() {
                let mut text = Vec::new();
                let advanced =
                    messages.advance(&mut text, |text, message, memory| put_json(&plan, message, text, memory)).await;
                if messages.is_over() {
                    let status = advanced.err().unwrap_or_else(|| Status::new(Code::Ok, ""));
                    text.extend_from_slice(&end_of_stream(&status, messages.trailers(), Some(&known)));
                }
                if !text.is_empty() {
                    return Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), messages));
                }
            }
            None
        }
    });
    Body::new(StreamBody::new(envelopes))
}

/// One message, or nothing of one that can't be written.
fn put_json(plan: &Plan, message: &Bytes, text: &mut Vec<u8>, memory: TextMemory<'_>) -> Result<(), Status> {
    let begin = text.len();
    text.extend_from_slice(&[0; grpc::PREFIX]);
    let written = memory.write(|may_take| plan.whole_response_within(message, text, may_take), not_declared);
    written.map_err(|fault| fault.status().clone()).inspect_err(|_| text.truncate(begin))?;
    // A message is bounded far below 4 GiB before it gets here.
    let length = u32::try_from(text.len() - begin - grpc::PREFIX).unwrap_or(u32::MAX);
    text[begin + 1..begin + grpc::PREFIX].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// The last envelope.
fn end_of_stream(status: &Status, trailers: &HeaderMap, known: Option<&DescriptorPool>) -> Bytes {
    let mut end = Map::new();
    if status.code() != Code::Ok {
        end.insert("error".to_owned(), error::error(status, known));
    }
    let metadata = metadata(trailers);
    if !metadata.is_empty() {
        end.insert("metadata".to_owned(), metadata.into());
    }
    let text = Value::from(end).to_string();
    let mut envelope = BytesMut::with_capacity(grpc::PREFIX + text.len());
    envelope.put_u8(END);
    envelope.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    envelope.put_slice(text.as_bytes());
    envelope.freeze()
}

/// All values of each name.
fn metadata(trailers: &HeaderMap) -> Map<String, Value> {
    let names = trailers.keys().filter(|name| !name.as_str().starts_with("grpc-"));
    let text = |value: &HeaderValue| Value::from(String::from_utf8_lossy(value.as_bytes()));
    names.map(|name| (name.to_string(), trailers.get_all(name).iter().map(text).collect())).collect()
}

/// Makes gRPC's frames of envelopes of JSON.
pub(super) struct JsonMessages {
    frames: Deframer,
    plan: Arc<Plan>,
    encoding: Option<HeaderValue>,
    /// What is in memory of messages that are not whole yet.
    held: Held,
}

impl JsonMessages {
    pub(super) fn new(codec: &Codec, method: &Method, held: Held) -> Self {
        let (plan, encoding) = (Arc::clone(&codec.plan), codec.encoding.clone());
        Self { frames: Deframer::new(method.policy.max_request_bytes), plan, encoding, held }
    }

    fn hold(&mut self) -> Result<(), Fault> {
        self.held.set(self.frames.buffered() as u64).map_err(memory::shed)
    }

    fn read(&mut self, chunk: &[u8]) -> Result<Bytes, Fault> {
        self.frames.push(chunk);
        self.hold()?;
        let mut frames = BytesMut::new();
        while let Some(text) = self.frames.next(self.encoding.as_ref()).map_err(|error| body_fault(&error))? {
            let message = self.plan.whole_request(&text).map_err(|problem| violation(&problem))?;
            frames.extend_from_slice(&grpc::frame(&message));
        }
        self.hold()?;
        Ok(frames.freeze())
    }
}

impl Rewrite for JsonMessages {
    fn chunk(&mut self, chunk: &[u8]) -> Result<Bytes, Status> {
        self.read(chunk).map_err(|fault| fault.status().clone())
    }

    fn end(&mut self) -> Result<Bytes, Status> {
        if self.frames.buffered() == 0 { Ok(Bytes::new()) } else { Err(Fault::request_cut_off().status().clone()) }
    }
}
