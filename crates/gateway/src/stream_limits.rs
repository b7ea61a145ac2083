//! Stream limits: how large messages are, how many, and how long a stream is silent. A body that passes through as bytes is
//! read only at the five bytes before each message.

mod inflated;
mod state;

use self::inflated::Inflater;
pub(crate) use self::state::StreamState;
use crate::fault::{Component, Fault};
use accord_api::accord::fault::v1::Reason;
use accord_contract::{Method, MethodKind, Policy, limits::DEFAULT_MESSAGE_BYTES};
use accord_runtime::{
    call_record::CallRecord,
    deadline::{self, Deadline, trailers},
};
use accord_upstream::{
    Failure, TransportError,
    grpc::{self, Encoding},
    metadata,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::time::Sleep;
use tonic::Status;

/// The limits of one direction of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamLimits {
    /// Largest message in bytes.
    pub message: u64,
    /// Most messages.
    pub messages: Option<u64>,
    /// Whether it is one message where all is well, and not a stream.
    pub is_single: bool,
    /// How messages are compressed that have to be measured inflated. Bounds of the default size are not worth the work.
    pub inflated: Option<Encoding>,
}

impl StreamLimits {
    /// Those of what the caller sends.
    pub(crate) fn of_request(policy: &Policy) -> Self {
        Self {
            message: policy.max_request_bytes,
            messages: policy.max_stream_messages,
            is_single: false,
            inflated: None,
        }
    }

    /// The same for messages of this `grpc-encoding`.
    pub(crate) fn of_encoding(self, encoding: Option<&HeaderValue>) -> Self {
        let encoding = Encoding::of(encoding).ok().flatten();
        Self { inflated: encoding.filter(|_| self.message < DEFAULT_MESSAGE_BYTES), ..self }
    }

    /// Those of what the upstream answers.
    pub(crate) fn of_response(method: &Method) -> Self {
        let is_single = matches!(method.kind, MethodKind::Unary | MethodKind::ClientStreaming);
        Self { message: method.policy.max_response_bytes, is_single, ..Self::of_request(&method.policy) }
    }
}

/// Holds what passes against the limits.
struct LimitCounter {
    limits: StreamLimits,
    prefix: [u8; grpc::PREFIX],
    prefix_read: usize,
    message_left: usize,
    messages: u64,
    /// What the message comes to, where it is compressed and has to be measured.
    inflater: Option<Inflater>,
}

impl LimitCounter {
    fn new(limits: StreamLimits) -> Self {
        Self { limits, prefix: [0; grpc::PREFIX], prefix_read: 0, message_left: 0, messages: 0, inflater: None }
    }

    fn count(&mut self, mut chunk: &[u8]) -> Result<(), &'static str> {
        while !chunk.is_empty() {
            if self.message_left > 0 {
                let step = self.message_left.min(chunk.len());
                self.message_left -= step;
                if let Some(inflater) = &mut self.inflater {
                    inflater.push(&chunk[..step])?;
                }
                chunk = &chunk[step..];
                continue;
            }
            let step = (grpc::PREFIX - self.prefix_read).min(chunk.len());
            self.prefix[self.prefix_read..self.prefix_read + step].copy_from_slice(&chunk[..step]);
            self.prefix_read += step;
            chunk = &chunk[step..];
            if self.prefix_read == grpc::PREFIX {
                self.begin_message()?;
            }
        }
        Ok(())
    }

    /// Why what has passed can't be all of an answer that ends with OK.
    fn incomplete(&self) -> Option<Fault> {
        if self.message_left > 0 || self.prefix_read > 0 {
            return Some(Fault::amid_message());
        }
        (self.limits.is_single && self.messages != 1).then(Fault::not_one_message)
    }

    fn begin_message(&mut self) -> Result<(), &'static str> {
        let [flag, a, b, c, d] = self.prefix;
        self.prefix_read = 0;
        self.message_left = u32::from_be_bytes([a, b, c, d]) as usize;
        self.messages += 1;
        if self.message_left as u64 > self.limits.message {
            return Err("a message is larger than its method allows");
        }
        self.inflater = self.limits.inflated.filter(|_| flag != 0).map(|how| Inflater::new(how, self.limits.message));
        if self.limits.messages.is_some_and(|most| self.messages > most) {
            return Err("the stream has more messages than its method allows");
        }
        Ok(())
    }
}

/// The request's side: what is over the limits ends the call.
pub(crate) fn request<B>(
    body: B,
    limits: StreamLimits,
    record: &CallRecord,
    state: Arc<StreamState>,
) -> LimitedRequest<B> {
    LimitedRequest { body, counter: LimitCounter::new(limits), record: record.clone(), state }
}

pin_project! {
    /// A request's body within its limits.
    pub struct LimitedRequest<B> {
        #[pin]
        body: B,
        counter: LimitCounter,
        record: CallRecord,
        state: Arc<StreamState>,
    }
}

impl<B: HttpBody<Data = Bytes, Error: Into<tonic::codegen::StdError>>> HttpBody for LimitedRequest<B> {
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        let frame = match ready!(this.body.poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let error = error.into();
                // Frames that can't be rewritten say why.
                let why = error.downcast_ref::<Status>().cloned();
                this.state.end(|| why.unwrap_or_else(|| Fault::request_cut_off().status().clone()));
                return Poll::Ready(Some(Err(error)));
            }
            None => return Poll::Ready(None),
        };
        let Some(data) = frame.data_ref() else { return Poll::Ready(Some(Ok(frame))) };
        this.state.passed();
        this.record.add_request_bytes(data.len());
        if let Err(problem) = this.counter.count(data) {
            this.state.end(|| Fault::new(Component::Gateway, Reason::RequestTooLarge, problem).status().clone());
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

/// The answer's side: what is over the limits, silent or broken ends with a status that says so.
pub(crate) fn response<B>(
    response: Response<B>,
    upstream: &Arc<str>,
    limits: StreamLimits,
    deadline: Deadline,
    state: Arc<StreamState>,
) -> Response<LimitedResponse<B>> {
    let upstream = Arc::clone(upstream);
    let has_status = response.headers().contains_key("grpc-status");
    let counter = LimitCounter::new(limits.of_encoding(response.headers().get("grpc-encoding")));
    state.passed();
    let idle = state.silent_until().map(|until| Box::pin(tokio::time::sleep_until(until)));
    response.map(|body| LimitedResponse { body: Some(body), upstream, has_status, counter, idle, deadline, state })
}

/// An answer's body within its limits.
pub(crate) struct LimitedResponse<B> {
    // Gone once the answer has been ended here, so that the upstream learns of it at that moment.
    body: Option<B>,
    upstream: Arc<str>,
    // Without one the call has not ended, even if the bytes have.
    has_status: bool,
    counter: LimitCounter,
    idle: Option<Pin<Box<Sleep>>>,
    deadline: Deadline,
    state: Arc<StreamState>,
}

impl<B> LimitedResponse<B> {
    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.body = None;
        Poll::Ready(Some(Ok(Frame::trailers(trailers(status)))))
    }

    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        let Some(idle) = &mut self.idle else { return Poll::Pending };
        loop {
            ready!(idle.as_mut().poll(context));
            match self.state.silent_until() {
                // Something has passed since it was set.
                Some(until) if until > idle.deadline() => idle.as_mut().reset(until),
                _ => return Poll::Ready(state::silent().status().clone()),
            }
        }
    }

    fn broken_off(&self, error: TransportError) -> Status {
        let end_reason = self.state.end_reason().cloned();
        end_reason.unwrap_or_else(|| Failure::Transport(error.after_head()).status(&self.upstream))
    }

    /// Holds a frame against the limits, and trailers against what came before them.
    fn check(&mut self, frame: &mut Frame<Bytes>) -> Result<(), Fault> {
        if let Some(Err(problem)) = frame.data_ref().map(|data| self.counter.count(data)) {
            return Err(Fault::new(Component::Upstream, Reason::ResponseTooLarge, problem));
        }
        frame.trailers_mut().map_or(Ok(()), |trailers| self.check_trailers(trailers))
    }

    fn check_trailers(&mut self, trailers: &mut HeaderMap) -> Result<(), Fault> {
        if !grpc::has_status(trailers) {
            return Err(Fault::without_status());
        }
        if let Some(fault) = self.counter.incomplete().filter(|_| trailers["grpc-status"] == "0") {
            return Err(fault);
        }
        grpc::strip_unreadable(trailers);
        if deadline::is_race_in(self.deadline, trailers) {
            return Err(Fault::deadline(Component::Upstream));
        }
        metadata::strip_reserved(trailers);
        self.has_status = true;
        Ok(())
    }
}

impl<B: HttpBody<Data = Bytes, Error = TransportError> + Unpin> HttpBody for LimitedResponse<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(body) = this.body.as_mut() else { return Poll::Ready(None) };
        let mut frame = match Pin::new(body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => {
                let status = this.broken_off(error);
                return this.end(&status);
            }
            Poll::Ready(None) if this.has_status => return Poll::Ready(None),
            Poll::Ready(None) => return this.end(Fault::without_status().status()),
            Poll::Pending => {
                let status = ready!(this.poll_idle(context));
                return this.end(&status);
            }
        };
        this.state.passed();
        match this.check(&mut frame) {
            Ok(()) => Poll::Ready(Some(Ok(frame))),
            Err(fault) => this.end(fault.status()),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| self.has_status && body.is_end_stream())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, StreamBody};
    use std::{convert::Infallible, future::pending, pin::pin, time::Duration};
    use tokio::time::Instant;

    fn counter(message: u64, messages: Option<u64>) -> LimitCounter {
        LimitCounter::new(StreamLimits { message, messages, is_single: false, inflated: None })
    }

    #[test]
    fn messages_are_counted_however_chunks_are_cut() {
        let stream: Vec<u8> = [grpc::frame(b"abc"), grpc::frame(b""), grpc::frame(b"0123456789")].concat();
        for size in 1..stream.len() {
            let mut counter = counter(10, Some(3));
            for chunk in stream.chunks(size) {
                counter.count(chunk).unwrap();
            }
            assert_eq!((counter.messages, counter.message_left, counter.prefix_read), (3, 0, 0));
        }
    }

    #[test]
    fn message_over_the_limit_is_refused_at_its_prefix() {
        assert!(counter(2, None).count(&grpc::frame(b"abc")[..5]).is_err());
    }

    #[test]
    fn one_message_too_many_is_refused_at_its_prefix() {
        let mut counter = counter(9, Some(1));
        counter.count(&grpc::frame(b"abc")).unwrap();
        assert!(counter.count(&grpc::frame(b"")).is_err());
    }

    #[test]
    fn compressed_message_is_measured_inflated() {
        use std::io::Write;
        let compressed = |size: usize| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(&vec![0; size]).unwrap();
            [&[1], &grpc::frame(&encoder.finish().unwrap())[1..]].concat()
        };
        let count = |limits: StreamLimits, size: usize| {
            let mut counter = LimitCounter::new(limits.of_encoding(Some(&HeaderValue::from_static("gzip"))));
            compressed(size).chunks(7).try_for_each(|chunk| counter.count(chunk))
        };
        let limits = counter(1 << 16, None).limits;
        assert!(count(limits, 1 << 16).is_ok());
        assert!(count(limits, (1 << 16) + 1).is_err());
        let limits = StreamLimits { message: DEFAULT_MESSAGE_BYTES, ..limits };
        assert!(count(limits, 8 << 20).is_ok(), "whose bound is the default");
    }

    const LIMITS: StreamLimits = StreamLimits { message: 9, messages: None, is_single: false, inflated: None };

    /// A call that may be silent for three seconds: its state, and its answer, which has nothing to say.
    fn silent() -> (Arc<StreamState>, impl HttpBody<Data = Bytes, Error = Status> + Unpin) {
        let body = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, TransportError>>());
        let state = Arc::new(StreamState::new(Some(Duration::from_secs(3))));
        let deadline = Deadline::after(Duration::from_mins(1));
        let response = response(Response::new(body), &"shop".into(), LIMITS, deadline, Arc::clone(&state));
        (state, response.into_body())
    }

    #[tokio::test(start_paused = true)]
    async fn silent_stream_ends_with_deadline_exceeded() {
        let (_, mut answer) = silent();
        let trailers = answer.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "4");
        assert!(answer.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn stream_whose_caller_goes_on_sending_is_not_silent() {
        let (begun, (state, mut answer)) = (Instant::now(), silent());
        // In paused time: what is tested is how long a silence lasts, and nobody waits for it.
        let spaced = futures_util::stream::unfold(0, |sent| async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            (sent < 5).then(|| (Ok::<_, Infallible>(Frame::data(grpc::frame(b"abc"))), sent + 1))
        });
        let mut sent = request(StreamBody::new(Box::pin(spaced)), LIMITS, &CallRecord::default(), state);
        let sending = async { while sent.frame().await.is_some() {} };
        let (ended, ()) = tokio::join!(answer.frame(), sending);
        assert!(ended.unwrap().unwrap().is_trailers());
        assert_eq!(begun.elapsed(), Duration::from_secs(5 * 2 + 3), "three seconds after the last of five messages");
    }

    #[tokio::test(start_paused = true)]
    async fn stream_that_is_silent_before_its_answer_begins_ends() {
        let (begun, state) = (Instant::now(), StreamState::new(Some(Duration::from_secs(3))));
        let sending = async {
            // In paused time, as above.
            tokio::time::sleep(Duration::from_secs(2)).await;
            state.passed();
        };
        let mut unanswered = pin!(pending::<Result<(), Fault>>());
        let (fault, ()) = tokio::join!(state.hold(unanswered.as_mut()), sending);
        assert_eq!(fault.unwrap_err().reason(), "STREAM_IDLE");
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
    }
}
