//! A body that passes through as bytes, watched only at the five bytes before each message: how large, how many, and
//! how long the silence between them.

use crate::fault::{Component, Fault};
use accord_api::accord::fault::v1::Reason;
use accord_contract::{Method, MethodKind, Policy};
use accord_runtime::deadline::{self, Deadline, trailers};
use accord_upstream::{Failure, Unreachable, grpc, metadata};
use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep};
use tonic::Status;

/// The bounds of one direction of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Largest message in bytes.
    pub message: u64,
    /// Most messages.
    pub messages: Option<u64>,
    /// Longest silence.
    pub idle: Option<Duration>,
    /// Whether it is one message where all is well, and not a stream.
    pub is_single: bool,
}

impl Bounds {
    /// Those of what the caller sends.
    pub(crate) fn of_requests(policy: &Policy) -> Self {
        Self {
            message: policy.max_request_bytes,
            messages: policy.max_stream_messages,
            idle: policy.stream_idle,
            is_single: false,
        }
    }

    /// Those of what the upstream answers.
    pub(crate) fn of_answers(method: &Method) -> Self {
        let is_single = matches!(method.kind, MethodKind::Unary | MethodKind::ClientStreaming);
        Self { message: method.policy.max_response_bytes, is_single, ..Self::of_requests(&method.policy) }
    }
}

/// Where the request's side leaves word of why it ended, for the side that answers.
pub(crate) type Verdict = Arc<OnceLock<Status>>;

/// Counts what passes by.
struct Meter {
    bounds: Bounds,
    prefix: [u8; grpc::PREFIX],
    filled: usize,
    ahead: usize,
    messages: u64,
}

impl Meter {
    fn new(bounds: Bounds) -> Self {
        Self { bounds, prefix: [0; grpc::PREFIX], filled: 0, ahead: 0, messages: 0 }
    }

    fn pass(&mut self, mut chunk: &[u8]) -> Result<(), &'static str> {
        while !chunk.is_empty() {
            if self.ahead > 0 {
                let step = self.ahead.min(chunk.len());
                self.ahead -= step;
                chunk = &chunk[step..];
                continue;
            }
            let step = (grpc::PREFIX - self.filled).min(chunk.len());
            self.prefix[self.filled..self.filled + step].copy_from_slice(&chunk[..step]);
            self.filled += step;
            chunk = &chunk[step..];
            if self.filled == grpc::PREFIX {
                self.begin_message()?;
            }
        }
        Ok(())
    }

    /// Why what has passed can't be all of an answer that ends with OK.
    fn disagreement(&self) -> Option<Fault> {
        if self.ahead > 0 || self.filled > 0 {
            return Some(Fault::amid_message());
        }
        (self.bounds.is_single && self.messages != 1).then(Fault::not_one_message)
    }

    fn begin_message(&mut self) -> Result<(), &'static str> {
        let [_, a, b, c, d] = self.prefix;
        self.filled = 0;
        self.ahead = u32::from_be_bytes([a, b, c, d]) as usize;
        self.messages += 1;
        if self.ahead as u64 > self.bounds.message {
            return Err("a message is larger than its method allows");
        }
        if self.bounds.messages.is_some_and(|most| self.messages > most) {
            return Err("the stream has more messages than its method allows");
        }
        Ok(())
    }
}

/// The request's side: what is over the bounds ends the call.
pub(crate) fn request<B>(body: B, bounds: Bounds, verdict: Verdict) -> Request<B> {
    Request { body, meter: Meter::new(bounds), verdict }
}

pin_project! {
    /// A request's body on its way in.
    pub struct Request<B> {
        #[pin]
        body: B,
        meter: Meter,
        verdict: Verdict,
    }
}

impl<B: HttpBody<Data = Bytes, Error: Into<tonic::codegen::StdError>>> HttpBody for Request<B> {
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        let frame = match ready!(this.body.poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                // The first word stands.
                let _ = this.verdict.set(Fault::request_cut_off().status().clone());
                return Poll::Ready(Some(Err(error.into())));
            }
            None => return Poll::Ready(None),
        };
        if let Some(Err(problem)) = frame.data_ref().map(|data| this.meter.pass(data)) {
            let fault = Fault::new(Component::Gateway, Reason::RequestTooLarge, problem);
            let _ = this.verdict.set(fault.status().clone());
            return Poll::Ready(Some(Err(problem.into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The answer's side: what is over the bounds, silent or broken ends with a status that says so.
pub(crate) fn answer<B>(
    response: Response<B>,
    upstream: &Arc<str>,
    bounds: Bounds,
    deadline: Deadline,
    verdict: Verdict,
) -> Response<Answer<B>> {
    let upstream = Arc::clone(upstream);
    let has_status = response.headers().contains_key("grpc-status");
    let meter = Meter::new(bounds);
    let idle = bounds.idle.map(|idle| Box::pin(tokio::time::sleep(idle)));
    response.map(|body| Answer { body: Some(body), upstream, has_status, meter, idle, deadline, verdict })
}

/// An answer's body on its way out.
pub(crate) struct Answer<B> {
    // Gone once the answer has been ended here, so that the upstream learns of it at that moment.
    body: Option<B>,
    upstream: Arc<str>,
    // Without one the call has not ended, even if the bytes have.
    has_status: bool,
    meter: Meter,
    idle: Option<Pin<Box<Sleep>>>,
    deadline: Deadline,
    verdict: Verdict,
}

impl<B> Answer<B> {
    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.body = None;
        Poll::Ready(Some(Ok(Frame::trailers(trailers(status)))))
    }

    fn poll_idle(&mut self, context: &mut Context<'_>) -> Option<Status> {
        let silent = self.idle.as_mut().is_some_and(|idle| idle.as_mut().poll(context).is_ready());
        silent.then(|| {
            let message = "the stream was silent for longer than its method allows";
            Fault::new(Component::Gateway, Reason::StreamIdle, message).status().clone()
        })
    }

    fn broken(&self, error: Unreachable) -> Status {
        let verdict = self.verdict.get().cloned();
        verdict.unwrap_or_else(|| Failure::Unreachable(error.after_head()).status(&self.upstream))
    }
}

impl<B: HttpBody<Data = Bytes, Error = Unreachable> + Unpin> HttpBody for Answer<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(body) = this.body.as_mut() else { return Poll::Ready(None) };
        let mut frame = match Pin::new(body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => {
                let status = this.broken(error);
                return this.end(&status);
            }
            Poll::Ready(None) if this.has_status => return Poll::Ready(None),
            Poll::Ready(None) => return this.end(Fault::without_status().status()),
            Poll::Pending => {
                return match this.poll_idle(context) {
                    Some(status) => this.end(&status),
                    None => Poll::Pending,
                };
            }
        };
        if let (Some(idle), Some(span)) = (&mut this.idle, this.meter.bounds.idle) {
            idle.as_mut().reset(Instant::now() + span);
        }
        if let Some(Err(problem)) = frame.data_ref().map(|data| this.meter.pass(data)) {
            let fault = Fault::new(Component::Upstream, Reason::ResponseTooLarge, problem);
            return this.end(fault.status());
        }
        if let Some(trailers) = frame.trailers_mut() {
            if !grpc::has_status(trailers) {
                return this.end(Fault::without_status().status());
            }
            if let Some(fault) = this.meter.disagreement().filter(|_| trailers["grpc-status"] == "0") {
                return this.end(fault.status());
            }
            if deadline::is_race_in(this.deadline, trailers) {
                return this.end(Fault::deadline().status());
            }
            grpc::strip_unreadable(trailers);
            metadata::strip_reserved(trailers);
            this.has_status = true;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| self.has_status && body.is_end_stream())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(message: u64, messages: Option<u64>) -> Meter {
        Meter::new(Bounds { message, messages, idle: None, is_single: false })
    }

    #[test]
    fn messages_are_told_apart_however_they_are_cut() {
        let stream: Vec<u8> = [grpc::frame(b"abc"), grpc::frame(b""), grpc::frame(b"0123456789")].concat();
        for size in 1..stream.len() {
            let mut meter = meter(10, Some(3));
            for chunk in stream.chunks(size) {
                meter.pass(chunk).unwrap();
            }
            assert_eq!((meter.messages, meter.ahead, meter.filled), (3, 0, 0));
        }
    }

    #[test]
    fn a_large_message_and_one_too_many_are_noticed_at_their_prefix() {
        assert!(meter(2, None).pass(&grpc::frame(b"abc")[..5]).is_err());
        let mut meter = meter(9, Some(1));
        meter.pass(&grpc::frame(b"abc")).unwrap();
        assert!(meter.pass(&grpc::frame(b"")).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_is_ended() {
        use http_body_util::{BodyExt, StreamBody};
        let silent = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Unreachable>>());
        let bounds = Bounds { message: 9, messages: None, idle: Some(Duration::from_secs(3)), is_single: false };
        let deadline = Deadline::after(Duration::from_secs(9));
        let response = Response::new(silent);
        let mut body = answer(response, &"shop".into(), bounds, deadline, Verdict::default()).into_body();
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "4");
        assert!(body.frame().await.is_none());
    }
}
