//! Bodies in hand, and what is wrong with those that came.

use super::text_memory::{MayTake, TextMemory};
use crate::{
    fault::{Component, Fault},
    memory::{self, CallMemory},
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::Method;
use accord_runtime::{fair_share::Held, fault::StatusBuilder};
use accord_transcode::Malformed;
use accord_upstream::grpc::BodyError;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};
use tonic::{Code, body::Body};

/// A body in hand: at most one chunk, then at most one set of trailers.
pub(super) struct Whole {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
    /// Its bytes in memory, until the last of them is on its way.
    _held: Option<Held>,
}

impl Whole {
    /// A body of bytes and trailers.
    pub(super) fn with_trailers(data: Bytes, trailers: HeaderMap, held: Option<Held>) -> Body {
        Body::new(Self { data: Some(data), trailers: Some(trailers), _held: held })
    }

    /// A body of bytes alone.
    pub(super) fn bytes(data: Bytes, held: Option<Held>) -> Body {
        Body::new(Self { data: Some(data), trailers: None, _held: held })
    }
}

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().filter(|data| !data.is_empty()).map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.as_ref().is_none_or(Bytes::is_empty) && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

/// Adds an upstream's metadata to an HTTP response. What it says of the encoding of bytes holds only where the body is passed
/// on as it is (`google.api.HttpBody`).
pub(super) fn add_metadata(metadata: &HeaderMap, is_passed_on: bool, response: &mut HeaderMap) {
    for (name, value) in metadata {
        let is_own = name.as_str().starts_with("grpc-") || *name == header::CONTENT_TYPE;
        if !is_own && (is_passed_on || *name != header::CONTENT_ENCODING) {
            response.append(name.clone(), value.clone());
        }
    }
}

/// Adds an upstream's trailing metadata, under names that begin with `trailer-`.
pub(super) fn add_trailers(trailers: &HeaderMap, response: &mut HeaderMap) {
    for (name, value) in trailers.iter().filter(|(name, _)| !name.as_str().starts_with("grpc-")) {
        if let Ok(name) = HeaderName::try_from(format!("trailer-{name}")) {
            response.append(name, value.clone());
        }
    }
}

/// What `write` makes of a message, and its bytes in memory. They are held before they are made, and while they are: whoever has its
/// share costs no more work.
pub(super) fn transcoded<T>(
    method: &Method,
    message: &Bytes,
    memory: &CallMemory,
    write: impl FnOnce(&mut Vec<u8>, MayTake<'_>) -> Result<T, Malformed>,
) -> Result<(T, Bytes, Held), Fault> {
    let mut held = memory.response(message.len())?;
    let mut text = Vec::with_capacity(message.len() * 2);
    let said = TextMemory::new(&mut held, 0, method.policy.max_response_bytes).write(
        |may_take| write(&mut text, may_take),
        |error| format!("the answer is not the declared message: {error}"),
    )?;
    let text = fitted(text);
    held.set(text.len() as u64).map_err(memory::shed)?;
    Ok((said, text, held))
}

/// Text beyond which it is copied rather than kept with much room behind it.
const LARGE: usize = 64 << 10;

/// The text in as much memory as it is counted for, or a little more.
fn fitted(text: Vec<u8>) -> Bytes {
    let is_loose = text.capacity() > LARGE && text.capacity() - text.len() > text.len() / 8;
    if is_loose { Bytes::copy_from_slice(&text) } else { Bytes::from(text) }
}

/// What is not served as it was sent.
pub(super) fn unsupported(message: impl Into<String>) -> Fault {
    Fault::new(Component::Gateway, Reason::ProtocolUnsupported, message).http(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

/// Why a request's body is not its message.
pub(super) fn body_fault(error: &BodyError) -> Fault {
    match error {
        BodyError::TooLarge { .. } => Fault::new(Component::Gateway, Reason::RequestTooLarge, error.to_string())
            .http(StatusCode::PAYLOAD_TOO_LARGE),
        BodyError::Encoding(_) => unsupported(error.to_string()),
        BodyError::Shed(shed) => memory::shed(*shed),
        BodyError::Unsaid => {
            let status = StatusBuilder::new(Reason::RequestMalformed, error.to_string()).code(Code::Internal);
            Fault::of(Component::Gateway, status)
        }
        BodyError::Malformed(_) => Fault::violation(Reason::RequestMalformed, "", &error.to_string()),
        BodyError::Broken(_) => Fault::request_cut_off(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_text_keeps_no_memory_that_is_not_counted() {
        let mut text = Vec::with_capacity(200_000);
        text.resize(100_000, b'x');
        let before = text.as_ptr();
        let kept = fitted(text);
        assert!(kept.len() == 100_000 && kept.as_ptr() != before, "it is another buffer");
    }

    #[test]
    fn text_that_fills_its_memory_is_not_copied() {
        let text = vec![b'x'; 100_000];
        let before = text.as_ptr();
        assert_eq!(fitted(text).as_ptr(), before);
    }
}
