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
use opentelemetry::{
    KeyValue,
    metrics::{Histogram, UpDownCounter},
    trace::{TraceContextExt, TraceId},
};
use pin_project_lite::pin_project;
use tonic::{Code, Status};
use tower::Service;
use tracing::{Instrument, Span, field, instrument::Instrumented};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    access_log::{self, AccessLog, EndedCall},
    call_record::CallRecord,
    fault, request,
    request::RequestId,
    telemetry, trace,
};

/// The name under which calls of methods that nobody knows are counted, so that a caller can't invent label values.
pub const OTHER: &str = "_OTHER";

/// Tells the "pkg.Service/Method" of a request path, `None` for paths that are no known method.
pub type Naming = Arc<dyn Fn(&str) -> Option<Arc<str>> + Send + Sync>;

/// Observes the calls of the service it wraps.
#[derive(Clone)]
pub struct Observe<S> {
    inner: S,
    naming: Naming,
    excluded_paths: &'static [&'static str],
    metrics: Arc<Metrics>,
}

struct Metrics {
    duration: Histogram<f64>,
    active: UpDownCounter<i64>,
    /// By which listener the calls come, where a process has several for the same methods.
    listener: Option<&'static str>,
    access_log: Option<&'static AccessLog>,
}

impl<S> Observe<S> {
    /// Wraps a service. Call it after [`telemetry::init`], which says where metrics go.
    pub fn new(inner: S, naming: Naming) -> Self {
        let meter = telemetry::meter();
        let duration = meter
            .f64_histogram("rpc.server.call.duration")
            .with_description("Time from a call's first header to its last byte")
            .with_unit("s")
            .build();
        let active = meter
            .i64_up_down_counter("rpc.server.active_requests")
            .with_description("Calls in flight")
            .with_unit("{request}")
            .build();
        Self {
            inner,
            naming,
            excluded_paths: &[],
            metrics: Arc::new(Metrics { duration, active, listener: None, access_log: access_log::begun() }),
        }
    }

    /// Tells its calls from those that come by another listener of the process, as `accord.listener`.
    #[must_use]
    pub fn listener(self, name: &'static str) -> Self {
        let Metrics { duration, active, access_log, .. } = &*self.metrics;
        let (duration, active, access_log) = (duration.clone(), active.clone(), *access_log);
        Self { metrics: Arc::new(Metrics { duration, active, listener: Some(name), access_log }), ..self }
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
            return Observed { answer: self.inner.call(request).instrument(Span::none()), call: None, id };
        }
        let (span, trace_id) = open_span(request.headers(), &id);
        let record = CallRecord::default();
        if let Some(known) = (self.naming)(request.uri().path()) {
            span.record("rpc.method", &*known);
            record.set_method(known);
        }
        request.extensions_mut().insert(id.clone());
        request.extensions_mut().insert(record.clone());
        self.metrics.active.add(1, self.metrics.label().as_slice());
        let call = Observation {
            metrics: Arc::clone(&self.metrics),
            span: span.clone(),
            record,
            id: id.clone(),
            trace_id,
            begun: Instant::now(),
            code: None,
            response_bytes: 0,
        };
        let answer = span.in_scope(|| self.inner.call(request));
        Observed { answer: answer.instrument(span), call: Some(call), id }
    }
}

fn open_span(headers: &HeaderMap, id: &RequestId) -> (Span, TraceId) {
    // The target is the one that `telemetry` keeps enabled whatever the log level is: the trace hangs on this span.
    let span = tracing::info_span!(
        target: "accord::call",
        "call",
        otel.kind = "server",
        rpc.method = field::Empty,
        request_id = %id,
        trace_id = field::Empty,
    );
    let trace = trace::adopt(&span, headers);
    span.record("trace_id", field::display(trace));
    (span, trace)
}

/// One observed call. Whatever ends it, also its caller going away, ends the observation.
struct Observation {
    metrics: Arc<Metrics>,
    span: Span,
    record: CallRecord,
    id: RequestId,
    trace_id: TraceId,
    begun: Instant,
    code: Option<Code>,
    response_bytes: u64,
}

impl Metrics {
    fn label(&self) -> Option<KeyValue> {
        self.listener.map(|name| KeyValue::new("accord.listener", name))
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        // Dropped before a status was seen: the caller went away.
        let code = code_name(self.code.unwrap_or(Code::Cancelled));
        let name = self.record.method().cloned().unwrap_or_else(|| OTHER.into());
        let duration = self.begun.elapsed();
        self.log(&name, code, duration);
        self.end_span(&name, code);
        let label = self.metrics.label();
        let protocol = self.record.protocol().map(|name| KeyValue::new("accord.protocol", name));
        self.metrics.active.add(-1, label.as_slice());
        let system = KeyValue::new("rpc.system.name", "grpc");
        let (method, code) = (KeyValue::new("rpc.method", name), KeyValue::new("rpc.response.status_code", code));
        let seconds = duration.as_secs_f64();
        match (label, protocol) {
            (Some(listener), Some(protocol)) => {
                self.metrics.duration.record(seconds, &[system, method, code, listener, protocol]);
            }
            (Some(listener), None) => self.metrics.duration.record(seconds, &[system, method, code, listener]),
            (None, _) => self.metrics.duration.record(seconds, &[system, method, code]),
        }
    }
}

impl Observation {
    /// Notes the reason that a status of ours carries, whoever made it: for the access log, which alone tells it.
    fn note_reason(&self, status: &HeaderMap) {
        if self.metrics.access_log.is_none() || !status.contains_key("grpc-status-details-bin") {
            return;
        }
        let status = Status::from_header_map(status).filter(|status| status.code() != Code::Ok);
        if let Some(reason) = status.and_then(|status| fault::reason_of(&status)) {
            self.record.set_reason(|| fault::name(reason));
        }
    }

    fn log(&self, method: &str, status: &'static str, duration: Duration) {
        let Some(log) = self.metrics.access_log else { return };
        log.write(&EndedCall {
            record: &self.record,
            listener: self.metrics.listener,
            method,
            status,
            duration,
            response_bytes: self.response_bytes,
            request_id: &self.id,
            trace_id: self.trace_id,
        });
    }

    /// Straight to OpenTelemetry, whose span is exported now; as fields they would only lengthen log lines.
    fn end_span(&self, name: &Arc<str>, code: &'static str) {
        let context = self.span.context();
        let span = context.span();
        if !span.is_recording() {
            return;
        }
        span.update_name(name.to_string());
        span.set_attribute(KeyValue::new("rpc.system.name", "grpc"));
        span.set_attribute(KeyValue::new("rpc.method", Arc::clone(name)));
        span.set_attribute(KeyValue::new("rpc.response.status_code", code));
        if let Some(listener) = self.metrics.label() {
            span.set_attribute(listener);
        }
        // The deadline can be seen to shrink from hop to hop.
        if let Some(timeout) = self.record.timeout() {
            span.set_attribute(KeyValue::new("accord.call.timeout", timeout.as_secs_f64()));
        }
        if self.code.is_some_and(is_servers_fault) {
            span.set_status(opentelemetry::trace::Status::error(code));
        }
    }
}

pin_project! {
    /// The answer of an observed call.
    pub struct Observed<F> {
        #[pin]
        answer: Instrumented<F>,
        call: Option<Observation>,
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
        let mut call = this.call.take();
        if let Some(call) = &mut call {
            call.code = code_of_head(&response);
            call.note_reason(response.headers());
        }
        Poll::Ready(Ok(response.map(|inner| ObservedBody { inner, call })))
    }
}

pin_project! {
    /// The body of an observed call: the call is over when it ends, with the status in its trailers.
    pub struct ObservedBody<B> {
        #[pin]
        inner: B,
        call: Option<Observation>,
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
        let entered = this.call.as_ref().map(|call| call.span.clone().entered());
        let frame = ready!(this.inner.poll_frame(context));
        drop(entered);
        if let (Some(Ok(frame)), Some(call)) = (&frame, this.call.as_mut()) {
            call.response_bytes += frame.data_ref().map_or(0, |data| data.remaining() as u64);
        }
        if let (Some(Ok(frame)), Some(call)) = (&frame, this.call.as_ref()) {
            frame.trailers_ref().into_iter().for_each(|trailers| call.note_reason(trailers));
        }
        let ended = match &frame {
            Some(Ok(frame)) => frame.trailers_ref().map(|trailers| code_of(trailers).unwrap_or(Code::Unknown)),
            Some(Err(_)) => Some(Code::Unknown),
            // A gRPC body without trailers, whose head had no status either, was cut.
            None => Some(this.call.as_ref().and_then(|call| call.code).unwrap_or(Code::Unknown)),
        };
        if let (Some(code), Some(mut call)) = (ended, ended.and_then(|_| this.call.take())) {
            call.code = Some(code);
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
        let grpc = content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        // The status of a gRPC answer is still to come, in its trailers.
        (!grpc).then(|| code_of_http(response.status()))
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

/// A status code as gRPC spells it, such as `DEADLINE_EXCEEDED`.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
