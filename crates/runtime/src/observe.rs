//! Metrics, logs and traces of every call: its id, its span in the caller's trace, its rate, errors and duration.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Buf;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use opentelemetry::{KeyValue, trace::TraceContextExt};
use opentelemetry_sdk::trace::Sampler;
use pin_project_lite::pin_project;
use tonic::{Code, Status};
use tower::Service;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    access_log::{self, AccessLog},
    call_metrics::CallMetrics,
    call_record::{CallRecord, EndedCall},
    current_call::{CurrentCall, InCall},
    fault, request,
    request::RequestId,
    telemetry, trace,
};
pub use crate::{
    call_metrics::{MethodSeries, OTHER},
    fault::code_name,
};

/// Tells the method of a request path, `None` for paths that are no known method.
pub type Naming = Arc<dyn Fn(&str) -> Option<Arc<MethodSeries>> + Send + Sync>;

/// Told of each call that ends, where it ends: it neither waits nor does much.
pub type OnEnd = Arc<dyn Fn(&EndedCall<'_>) + Send + Sync>;

/// Observes the calls of the service it wraps.
#[derive(Clone)]
pub struct Observe<S> {
    inner: S,
    naming: Naming,
    excluded_paths: &'static [&'static str],
    sinks: Arc<Sinks>,
}

/// Where what is observed goes.
#[derive(Clone)]
struct Sinks {
    metrics: Arc<CallMetrics>,
    access_log: Option<&'static AccessLog>,
    /// Who else is told of calls that end.
    on_end: Option<OnEnd>,
    /// By what calls are sampled; none where no spans are exported.
    sampler: Option<Sampler>,
}

impl<S> Observe<S> {
    /// Wraps a service. Call it after [`telemetry::init`], which says where metrics, spans and lines of the
    /// access log go.
    pub fn new(inner: S, naming: Naming) -> Self {
        let (metrics, access_log) = (Arc::new(CallMetrics::new(&telemetry::meter(), None)), access_log::begun());
        let sampler = trace::sampler().cloned();
        Self {
            inner,
            naming,
            excluded_paths: &[],
            sinks: Arc::new(Sinks { metrics, access_log, on_end: None, sampler }),
        }
    }

    /// Tells its calls from those that come by another listener of the process, as `accord.listener`.
    #[must_use]
    pub fn listener(self, name: &'static str) -> Self {
        let metrics = Arc::new(CallMetrics::new(&telemetry::meter(), Some(name)));
        Self { sinks: Arc::new(Sinks { metrics, ..Sinks::clone(&self.sinks) }), ..self }
    }

    /// Tells somebody of each call that ends.
    #[must_use]
    pub fn on_end(self, on_end: OnEnd) -> Self {
        Self { sinks: Arc::new(Sinks { on_end: Some(on_end), ..Sinks::clone(&self.sinks) }), ..self }
    }

    /// Samples calls by this, in the place of what the process's telemetry says.
    #[must_use]
    pub fn sample_by(self, sampler: Sampler) -> Self {
        Self { sinks: Arc::new(Sinks { sampler: Some(sampler), ..Sinks::clone(&self.sinks) }), ..self }
    }

    /// Lets requests for these paths pass unobserved.
    #[must_use]
    pub fn exclude(mut self, paths: &'static [&'static str]) -> Self {
        self.excluded_paths = paths;
        self
    }
}

impl<S, Q, B> Service<Request<Q>> for Observe<S>
where
    S: Service<Request<Q>, Response = Response<B>, Error = Infallible>,
{
    type Response = Response<ObservedBody<B>>;
    type Error = Infallible;
    type Future = Observed<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Q>) -> Self::Future {
        let id = RequestId::of(request.headers());
        if self.excluded_paths.contains(&request.uri().path()) {
            let answer = CurrentCall::none().instrument(self.inner.call(request));
            return Observed { answer, observation: None, id };
        }
        let mut trace = trace::begin(request.headers(), self.sinks.sampler.as_ref());
        let span = trace::open(&mut trace, || tracing::info_span!("call", otel.kind = "server"));
        let record = CallRecord::begun(id.clone(), trace);
        if let Some(known) = (self.naming)(request.uri().path()) {
            record.set_method(known);
        }
        request.extensions_mut().insert(record.clone());
        self.sinks.metrics.begun();
        let mut call = CurrentCall::new(record, span);
        let observation = Observation {
            sinks: Arc::clone(&self.sinks),
            call: call.clone(),
            begun: Instant::now(),
            code: None,
            response_bytes: 0,
        };
        let answer = {
            let _entered = call.enter();
            self.inner.call(request)
        };
        Observed { answer: call.instrument(answer), observation: Some(observation), id }
    }
}

/// One observed call. Whatever ends it, also its caller going away, ends the observation.
struct Observation {
    sinks: Arc<Sinks>,
    call: CurrentCall,
    begun: Instant,
    code: Option<Code>,
    response_bytes: u64,
}

impl Drop for Observation {
    fn drop(&mut self) {
        let Some(record) = self.call.record() else { return };
        // Dropped before a status was seen: the caller went away.
        let code = record.code().or(self.code).unwrap_or(Code::Cancelled);
        let duration = self.begun.elapsed();
        let metrics = &self.sinks.metrics;
        let method = record.method().unwrap_or(metrics.other());
        self.tell(record, method.name(), code_name(code), duration);
        self.end_span(record, method.name(), code);
        let sampled = record.trace().filter(|trace| trace.is_sampled).map(|trace| &trace.context);
        metrics.ended(method, record.protocol(), record.version(), code, duration.as_secs_f64(), sampled);
    }
}

impl Observation {
    /// Notes the reason that a status of ours carries, whoever made it: for the access log, which alone tells it.
    fn note_reason(&self, status: &HeaderMap) {
        if self.sinks.access_log.is_none() || !status.contains_key("grpc-status-details-bin") {
            return;
        }
        let status = Status::from_header_map(status).filter(|status| status.code() != Code::Ok);
        if let (Some(record), Some(reason)) = (self.call.record(), status.and_then(|status| fault::reason_of(&status)))
        {
            record.set_reason(|| fault::name(reason));
        }
    }

    /// Counts a frame of the answer, and tells the status of the call where it ends with it.
    fn see<D: Buf, E>(&mut self, frame: Option<&Result<Frame<D>, E>>) -> Option<Code> {
        match frame {
            Some(Ok(frame)) => {
                self.response_bytes += frame.data_ref().map_or(0, |data| data.remaining() as u64);
                let trailers = frame.trailers_ref()?;
                self.note_reason(trailers);
                Some(code_of(trailers).unwrap_or(Code::Unknown))
            }
            Some(Err(_)) => Some(Code::Unknown),
            // A gRPC body without trailers, whose head and body had no status either, was cut.
            None => Some(self.code.unwrap_or(Code::Unknown)),
        }
    }

    fn tell(&self, record: &CallRecord, method: &str, status: &'static str, duration: Duration) {
        let Sinks { access_log, on_end, .. } = &*self.sinks;
        if access_log.is_none() && on_end.is_none() {
            return;
        }
        let listener = self.sinks.metrics.listener();
        let ended = EndedCall { record, listener, method, status, duration, response_bytes: self.response_bytes };
        if let Some(log) = access_log {
            log.write(&ended);
        }
        if let Some(on_end) = on_end {
            on_end(&ended);
        }
    }

    fn end_span(&self, record: &CallRecord, method: &str, code: Code) {
        if self.call.span().is_none() {
            return;
        }
        let context = self.call.span().context();
        let span = context.span();
        if !span.is_recording() {
            return;
        }
        span.update_name(method.to_owned());
        span.set_attribute(KeyValue::new("rpc.system.name", "grpc"));
        span.set_attribute(KeyValue::new("rpc.method", method.to_owned()));
        if let Some(id) = record.request_id() {
            span.set_attribute(KeyValue::new("request_id", id.to_string()));
        }
        if let Some(listener) = self.sinks.metrics.listener() {
            span.set_attribute(KeyValue::new("accord.listener", listener));
        }
        // The deadline can be seen to shrink from hop to hop.
        if let Some(timeout) = record.timeout() {
            span.set_attribute(KeyValue::new("accord.call.timeout", timeout.as_secs_f64()));
        }
        trace::end(self.call.span(), code, is_servers_fault);
    }
}

pin_project! {
    /// The answer of an observed call.
    pub struct Observed<F> {
        #[pin]
        answer: InCall<F>,
        observation: Option<Observation>,
        id: RequestId,
    }
}

impl<F, B> Future for Observed<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<ObservedBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.answer.poll(context))?;
        response.headers_mut().insert(request::HEADER, this.id.header());
        let mut observation = this.observation.take();
        if let Some(observation) = &mut observation {
            observation.code = code_of_head(&response);
            observation.note_reason(response.headers());
        }
        Poll::Ready(Ok(response.map(|inner| ObservedBody { inner, observation })))
    }
}

pin_project! {
    /// The body of an observed call: the call is over when it ends, with the status in its trailers.
    pub struct ObservedBody<B> {
        #[pin]
        inner: B,
        observation: Option<Observation>,
    }
}

impl<B: Body> Body for ObservedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let entered = this.observation.as_mut().map(|observation| observation.call.enter());
        let frame = ready!(this.inner.poll_frame(context));
        drop(entered);
        if let Some(code) = this.observation.as_mut().and_then(|observation| observation.see(frame.as_ref()))
            && let Some(mut observation) = this.observation.take()
        {
            observation.code = Some(code);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The status as far as the head tells it: what the handler put into the extensions, `grpc-status`, or HTTP's status.
fn code_of_head<B>(response: &Response<B>) -> Option<Code> {
    let told = response.extensions().get::<Code>().copied();
    told.or_else(|| code_of(response.headers())).or_else(|| {
        let content_type = response.headers().get(http::header::CONTENT_TYPE);
        let begins = |with: &[u8]| content_type.is_some_and(|value| value.as_bytes().starts_with(with));
        // The status is still to come: in trailers, or in the last frame of the body.
        let is_to_come = begins(b"application/grpc") || begins(b"application/connect+");
        (!is_to_come).then(|| code_of_http(response.status()))
    })
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

/// The mapping in the comments of `google/rpc/code.proto`, the other way round.
fn code_of_http(status: StatusCode) -> Code {
    match status.as_u16() {
        200..=399 => Code::Ok,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        409 => Code::Aborted,
        429 => Code::ResourceExhausted,
        499 => Code::Cancelled,
        400..=498 => Code::InvalidArgument,
        501 => Code::Unimplemented,
        503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        500 => Code::Internal,
        _ => Code::Unknown,
    }
}

/// Which statuses are errors of a server span, as OpenTelemetry's conventions for gRPC say.
fn is_servers_fault(code: Code) -> bool {
    use Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
    matches!(code, Unknown | DeadlineExceeded | Unimplemented | Internal | Unavailable | DataLoss)
}
