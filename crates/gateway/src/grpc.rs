//! Answers in gRPC of the gateway's own.

pub(crate) use accord_upstream::grpc::*;

use accord_runtime::deadline::trailers;
use bytes::Bytes;
use http::{HeaderMap, Response, header};
use http_body::{Body as HttpBody, Frame};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};
use tonic::{Status, body::Body};

/// An answer that is a status and nothing else.
pub(crate) fn trailers_only(status: &Status) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = trailers(status);
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response
}

/// A body in hand: at most one chunk, then at most one set of trailers.
pub(crate) struct Whole {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Whole {
    /// A body of a framed message and its trailers.
    pub(crate) fn answer(data: Bytes, trailers: HeaderMap) -> Body {
        Body::new(Self { data: Some(data), trailers: Some(trailers) })
    }

    /// A body of bytes alone.
    pub(crate) fn bytes(data: Bytes) -> Body {
        Body::new(Self { data: Some(data), trailers: None })
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

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}
