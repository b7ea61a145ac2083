//! Uploads: the messages of a stream that a caller without gRPC sends, one JSON text per line (NDJSON), or the bytes of
//! `google.api.HttpBody` as they come.

use super::Codec;
use crate::{
    fault::Fault,
    memory,
    protocol::{
        body::{body_fault, unsupported},
        content,
        frames::Rewrite,
    },
    table::Variables,
};
use accord_contract::Method;
use accord_runtime::fair_share::Held;
use accord_transcode::{Plan, Violation};
use accord_upstream::grpc::{self, BodyError};
use bytes::{Buf, Bytes, BytesMut};
use http::{header, request::Parts};
use std::sync::Arc;
use tonic::Status;

/// What the head of a request says of all its messages.
#[derive(Clone)]
pub(super) struct Head {
    query: Option<Box<str>>,
    content_type: Option<Box<str>>,
}

impl Head {
    /// Refuses a body that is not one of messages.
    pub(super) fn of(parts: &Parts, plan: &Plan) -> Result<Self, Fault> {
        if content::Encoding::of(&parts.headers)? != content::Encoding::Identity {
            return Err(unsupported("a stream of messages is sent uncompressed; leave `content-encoding` out"));
        }
        if !plan.takes_any_content() {
            content::check_stream_type(&parts.headers)?;
        }
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Ok(Self { query: parts.uri.query().map(Box::from), content_type: content_type.map(Box::from) })
    }
}

/// Makes gRPC's frames of what is uploaded.
pub(super) struct Upload {
    plan: Arc<Plan>,
    variables: Variables,
    head: Head,
    limit: u64,
    /// Of a line that is not whole yet.
    rest: BytesMut,
    messages: usize,
    /// What is in memory of it.
    held: Held,
}

impl Upload {
    pub(super) fn new(codec: &Codec, head: Head, method: &Method, memory: Held) -> Self {
        Self {
            plan: Arc::clone(&codec.plan),
            variables: codec.variables.clone(),
            head,
            limit: method.policy.max_request_bytes,
            rest: BytesMut::new(),
            messages: 0,
            held: memory,
        }
    }

    fn read(&mut self, chunk: &[u8]) -> Result<Bytes, Fault> {
        let mut frames = BytesMut::new();
        if self.plan.takes_any_content() {
            // Half of what a message may have leaves room for its other fields.
            let most = usize::try_from(self.limit / 2).unwrap_or(usize::MAX).max(1);
            chunk.chunks(most).try_for_each(|content| self.put(content, &mut frames))?;
            return Ok(frames.freeze());
        }
        // What was looked through before has no end of a line.
        let mut searched = self.rest.len();
        self.rest.extend_from_slice(chunk);
        while let Some(end) = self.rest[searched..].iter().position(|byte| *byte == b'\n') {
            let line = self.rest.split_to(searched + end);
            self.rest.advance(1);
            searched = 0;
            self.line(&line, &mut frames)?;
        }
        if self.rest.len() as u64 > self.limit {
            return Err(body_fault(&BodyError::TooLarge { limit: self.limit }));
        }
        self.held.set(self.rest.len() as u64).map_err(memory::shed)?;
        Ok(frames.freeze())
    }

    /// An empty line is none: clients end their last line, or keep a connection alive.
    fn line(&mut self, line: &[u8], frames: &mut BytesMut) -> Result<(), Fault> {
        if line.len() as u64 > self.limit {
            return Err(body_fault(&BodyError::TooLarge { limit: self.limit }));
        }
        if line.trim_ascii().is_empty() { Ok(()) } else { self.put(line, frames) }
    }

    fn put(&mut self, content: &[u8], frames: &mut BytesMut) -> Result<(), Fault> {
        // The type of what is sent stands in the first message, as in streams of `google.api.HttpBody` that are answers.
        let content_type = self.head.content_type.as_deref().filter(|_| self.messages == 0);
        let query = self.head.query.as_deref();
        let message = self.plan.request(&self.variables, query, content_type, content);
        let message = message.map_err(|problem| super::violation(&within(problem, self.messages)))?;
        self.messages += 1;
        frames.extend_from_slice(&grpc::frame(&message));
        Ok(())
    }
}

/// Says which of the messages is wrong, as of the elements of a list.
fn within(violation: Violation, message: usize) -> Violation {
    let dot = if violation.field.is_empty() || violation.field.starts_with('[') { "" } else { "." };
    Violation { field: format!("[{message}]{dot}{}", violation.field), ..violation }
}

impl Rewrite for Upload {
    fn chunk(&mut self, chunk: &[u8]) -> Result<Bytes, Status> {
        self.read(chunk).map_err(|fault| fault.status().clone())
    }

    /// The last line needs no end.
    fn end(&mut self) -> Result<Bytes, Status> {
        let (line, mut frames) = (std::mem::take(&mut self.rest), BytesMut::new());
        self.line(&line, &mut frames).map_err(|fault| fault.status().clone())?;
        Ok(frames.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::tests::stream_of;
    use super::*;
    use crate::protocol::tests::memory;
    use accord_wire::put_bytes;
    use http::{HeaderName, HeaderValue, Request};

    fn parts(headers: &[(&'static str, &'static str)]) -> Parts {
        let (mut parts, ()) = Request::new(()).into_parts();
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        parts.headers = headers.iter().map(header).collect();
        parts
    }

    fn upload(message: &str, headers: &[(&'static str, &'static str)]) -> Result<Upload, Fault> {
        let (method, codec) = stream_of(message);
        let head = Head::of(&parts(headers), &codec.plan)?;
        Ok(Upload::new(&codec, head, &method, memory().request()))
    }

    fn event(content_type: &str) -> Bytes {
        let mut message = Vec::new();
        put_bytes(&mut message, 1, content_type.as_bytes());
        grpc::frame(&message)
    }

    /// The frames of a body that comes in chunks of this size.
    fn frames(body: &str, size: usize) -> Result<Vec<u8>, Status> {
        let mut upload = upload("Event", &[]).unwrap();
        let mut frames = Vec::new();
        for chunk in body.as_bytes().chunks(size) {
            frames.extend_from_slice(&upload.chunk(chunk)?);
        }
        frames.extend_from_slice(&upload.end()?);
        Ok(frames)
    }

    #[test]
    fn lines_are_messages_however_they_are_cut() {
        let body = "{\"contentType\": \"a\"}\n\r\n{\"contentType\":\"b\"}\r\n\n{\"contentType\":\"c\"}";
        let expected = [event("a"), event("b"), event("c")].concat();
        for size in 1..=body.len() {
            assert_eq!(frames(body, size).unwrap(), expected, "by {size}");
            assert_eq!(frames(&format!("{body}\n"), size).unwrap(), expected, "by {size}");
        }
        assert!(frames("", 1).unwrap().is_empty());
    }

    #[test]
    fn message_that_is_wrong_is_named_by_its_place() {
        let problem = frames("{}\n\n{\"nope\":1}\n", 5).unwrap_err();
        assert!(problem.message().contains("`[1].nope`"), "{problem}");
        assert!(frames("{}\n{", 5).unwrap_err().message().contains("`[1]`"));
    }

    #[test]
    fn line_over_the_limit_of_a_message_is_resource_exhausted() {
        let mut upload = upload("Event", &[]).unwrap();
        let chunk = vec![b' '; 1 << 20];
        let refused = (0..5).find_map(|_| upload.chunk(&chunk).err()).unwrap();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    }

    #[test]
    fn bytes_of_an_http_body_are_passed_on_as_they_come() {
        let mut upload = upload("HttpBody", &[("content-type", "image/png")]).unwrap();
        let mut message = Vec::new();
        put_bytes(&mut message, 1, b"image/png");
        put_bytes(&mut message, 2, b"\x89PNG\n");
        assert_eq!(upload.chunk(b"\x89PNG\n").unwrap(), grpc::frame(&message));
        assert_eq!(upload.chunk(b"\n").unwrap(), grpc::frame(&[0x12, 1, b'\n']));
        assert!(upload.end().unwrap().is_empty());
    }

    #[test]
    fn upload_of_another_type_or_compressed_is_refused() {
        for taken in ["application/x-ndjson", "application/json", "application/jsonl; charset=utf-8"] {
            assert!(upload("Event", &[("content-type", taken)]).is_ok(), "{taken}");
        }
        assert!(upload("Event", &[("content-type", "text/csv")]).is_err());
        assert!(upload("Event", &[("content-encoding", "gzip")]).is_err());
    }
}
