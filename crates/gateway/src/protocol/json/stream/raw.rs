//! A stream of `google.api.HttpBody`: its bytes and nothing else, with the content type of the first message.

use super::{Codec, add_metadata, trailers};
use crate::protocol::{
    messages::Messages,
    text_memory::{TextMemory, not_declared},
};
use accord_transcode::Plan;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::StreamBody;
use std::sync::Arc;
use tonic::{Status, body::Body};

/// What is still to be passed on.
struct Passing {
    messages: Messages,
    plan: Arc<Plan>,
    /// Bytes that have been read already.
    read: Vec<u8>,
    content_type: Option<HeaderValue>,
    /// Why the stream broke off, until that has been passed on.
    broken: Option<Status>,
}

/// Waits for the first message, which says what the bytes are. A stream that fails before it is a plain error answer.
pub(super) async fn respond(codec: &Codec, head: &HeaderMap, messages: Messages) -> Result<Response<Body>, Status> {
    let plan = Arc::clone(&codec.plan);
    let mut passing = Passing { messages, plan, read: Vec::new(), content_type: None, broken: None };
    while passing.content_type.is_none() && !passing.messages.is_over() {
        passing.read_chunk().await;
    }
    if passing.content_type.is_none()
        && let Some(status) = passing.broken
    {
        return Err(status);
    }
    let content_type = passing.content_type.clone();
    let reads_trailers = codec.json.reads_trailers;
    let frames = stream::unfold(Some(passing), move |passing| async move {
        let mut passing = passing?;
        match passing.next().await {
            Some(chunk) => Some((chunk.map(Frame::data), Some(passing))),
            None => Some((Ok(trailers(&passing.messages, reads_trailers)?), None)),
        }
    });
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    add_metadata(head, true, response.headers_mut());
    if let Some(content_type) = content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    Ok(response)
}

impl Passing {
    async fn read_chunk(&mut self) {
        let Self { messages, plan, read, content_type, .. } = self;
        let put = |read: &mut Vec<u8>, message: &Bytes, memory: TextMemory<'_>| {
            let found = memory.write(|may_take| plan.response_within(message, read, may_take), not_declared);
            let found = found.map_err(|fault| fault.status().clone())?;
            if content_type.is_none() {
                *content_type = found;
            }
            Ok(())
        };
        self.broken = messages.advance(read, put).await.err();
    }

    /// The next bytes. Where the stream broke off, the body does as well: bytes alone have no form for an error.
    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        while self.read.is_empty() && !self.messages.is_over() {
            self.read_chunk().await;
        }
        if self.read.is_empty() {
            return self.broken.take().map(Err);
        }
        Some(Ok(std::mem::take(&mut self.read).into()))
    }
}
