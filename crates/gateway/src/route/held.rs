//! An answer's body that holds the seat at its endpoint until the last byte, and learns from its trailers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::endpoint::InFlight;

/// `grpc-status` of UNAVAILABLE.
const UNAVAILABLE: &[u8] = b"14";

/// A body with the seat that it occupies.
#[derive(Debug)]
pub struct Held {
    body: tonic::body::Body,
    seat: Option<InFlight>,
}

impl Held {
    /// A body that holds the seat until it ends or is dropped.
    pub fn new(body: tonic::body::Body, seat: InFlight) -> Self {
        Self { body, seat: Some(seat) }
    }

    fn judge(&mut self, trailers: &HeaderMap) {
        if let Some(seat) = self.seat.take() {
            judge(&seat, trailers);
        }
    }
}

/// What an answer's status says about its endpoint. Any status but UNAVAILABLE shows that it works.
pub fn judge(seat: &InFlight, headers: &HeaderMap) {
    if headers.get("grpc-status").is_some_and(|status| status.as_bytes() == UNAVAILABLE) {
        seat.endpoint().faltered();
    } else {
        seat.endpoint().succeeded();
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.judge(trailers);
                }
            }
            Some(Err(_)) | None => self.seat = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
