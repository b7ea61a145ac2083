//! Response bodies: read as the caller reads them, within size limits, holding the in-flight slots until the last byte.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_runtime::deadline::trailers;
use accord_runtime::fault;
use accord_runtime::trace::ClientSpan;
use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::{Code, Status};

use crate::bulkhead::Admission;
use crate::connection::Lease;
use crate::endpoint::InFlight;
use crate::payload::Sending;
use crate::transport_error::TransportError;
use crate::{metadata, status};

/// The body of an answer.
#[derive(Debug)]
pub struct ResponseBody {
    // Gone once the answer is over.
    stream: Option<RecvStream>,
    is_read: bool,
    latency: Option<Duration>,
    max_header_bytes: usize,
    guards: Option<InFlightGuards>,
}

/// What a call holds until its response is over.
#[derive(Debug)]
pub(crate) struct InFlightGuards {
    pub sending: Sending,
    pub in_flight: InFlight,
    pub lease: Lease,
    pub admission: Option<Admission>,
    /// Where the call is sampled.
    pub traced: Option<ClientSpan>,
}

impl ResponseBody {
    pub(crate) fn new(
        stream: RecvStream,
        latency: Option<Duration>,
        max_header_bytes: usize,
        guards: InFlightGuards,
    ) -> Self {
        Self { stream: Some(stream), is_read: false, latency, max_header_bytes, guards: Some(guards) }
    }

    /// The body of an answer that consists of its head.
    pub(crate) fn over() -> Self {
        Self { stream: None, is_read: true, latency: None, max_header_bytes: 0, guards: None }
    }

    /// How long the upstream took until its head, from the end of the request on; none where it answered before that.
    pub(crate) fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// Holds the upstream's own place as well, until the answer is over.
    pub(crate) fn hold(&mut self, admission: Admission) {
        if let Some(guards) = &mut self.guards {
            guards.admission = Some(admission);
        }
    }

    /// Ends the span of the call with the answer.
    pub(crate) fn trace(&mut self, traced: ClientSpan) {
        if let Some(guards) = &mut self.guards {
            guards.traced = Some(traced);
        }
    }

    /// Lets go of the stream, and of all that the call held.
    fn end(&mut self) -> Option<InFlightGuards> {
        self.stream = None;
        self.guards.take()
    }

    fn broken(&mut self, error: &h2::Error) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        let mut guards = self.end();
        let traced = guards.as_mut().and_then(|guards| guards.traced.take());
        if let Some(guards) = guards.as_ref().filter(|_| TransportError::is_of_connection(error)) {
            guards.in_flight.endpoint().pool().replace(&guards.lease);
        }
        let is_requests = guards.is_some_and(|guards| guards.sending.is_broken());
        let error = if is_requests { TransportError::RequestBroken } else { TransportError::of(error).after_head() };
        if let Some(traced) = traced {
            traced.break_off(error.code());
        }
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else { return Poll::Ready(None) };
        if !this.is_read {
            match ready!(stream.poll_data(context)) {
                Some(Ok(data)) => {
                    // It is in the caller's hands now. An error would be the stream's, which says so itself.
                    let _ = stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return this.broken(&error),
                None => this.is_read = true,
            }
        }
        match ready!(stream.poll_trailers(context)) {
            Ok(trailers) => {
                if let Some(guards) = this.end() {
                    finish(guards, trailers.as_ref());
                }
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(bounded(trailers, this.max_header_bytes).0))))
            }
            Err(error) => this.broken(&error),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }
}

/// An answer is whole, with these trailers.
fn finish(guards: InFlightGuards, trailers: Option<&HeaderMap>) {
    if let Some(trailers) = trailers {
        judge(&guards.in_flight, trailers);
    }
    if let Some(traced) = guards.traced {
        traced.end(trailers.and_then(status::code).unwrap_or(Code::Internal));
    }
}

/// Tells an endpoint the status of its answer.
pub(crate) fn judge(call: &InFlight, metadata: &HeaderMap) {
    call.endpoint().answered(status::code(metadata));
}

/// Metadata within its bound. Where it is beyond it, what is left is the code that the upstream gave, and why nothing else
/// is; an OK with metadata that can't be told on is none. Whether something was left out.
pub(crate) fn bounded(metadata: HeaderMap, most: usize) -> (HeaderMap, bool) {
    let size = metadata::size(&metadata);
    if size <= most {
        return (metadata, false);
    }
    let message = format!(
        "the upstream's metadata has {size} bytes and {most} are allowed (`max_header_bytes`): it was left out"
    );
    let status = match status::code(&metadata) {
        Some(code) if code != Code::Ok => Status::new(code, message),
        _ => fault::status(Reason::ResponseTooLarge, message),
    };
    (trailers(&status), true)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn ended(code: &'static str, bytes: usize) -> HeaderMap {
        HeaderMap::from_iter([
            (HeaderName::from_static("grpc-status"), HeaderValue::from_static(code)),
            (HeaderName::from_static("grpc-message"), HeaderValue::try_from("x".repeat(bytes)).unwrap()),
        ])
    }

    #[test]
    fn metadata_beyond_its_bound_keeps_its_code() {
        let code = |trailers: HeaderMap| trailers["grpc-status"].to_str().unwrap().to_owned();
        assert_eq!(bounded(ended("3", 100), 1000), (ended("3", 100), false));
        let (cut, is_cut) = bounded(ended("3", 2000), 1000);
        assert!(is_cut && cut["grpc-message"].to_str().unwrap().contains("1000%20are%20allowed"), "{cut:?}");
        assert_eq!(code(cut), "3");
        assert_eq!(code(bounded(ended("0", 2000), 1000).0), "8", "an answer without its metadata is not OK");
    }
}
