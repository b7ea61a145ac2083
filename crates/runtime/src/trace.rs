//! Traces: which calls are sampled, their spans, and what the next hop is told, in W3C trace context.
//!
//! Whether a call is sampled is decided once, when it begins: by its caller's decision or by the id of its trace. Where it is not,
//! or nothing is exported, no span is opened for it anywhere; the incoming context (or a fresh one) stands in the call's record and
//! is passed on as it came, so one trace still joins the logs of every hop.

use std::{cell::Cell, sync::OnceLock};

use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler, SamplingDecision, ShouldSample};
use tonic::Code;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    call_record::CallTrace,
    current_call::{self, CurrentCall},
    deadline::Deadline,
    fault::code_name,
    trace_context,
};

static SAMPLER: OnceLock<Sampler> = OnceLock::new();

thread_local! {
    /// The id of the trace whose first span is being opened.
    static BEGUN: Cell<Option<TraceId>> = const { Cell::new(None) };
}

/// Says by what calls are sampled from now on. Before, none is. A process says it once, when it sets up its telemetry.
pub(crate) fn sample_by(sampler: Sampler) {
    let _ = SAMPLER.set(sampler);
}

/// By what calls are sampled; none where nothing is exported.
pub(crate) fn sampler() -> Option<&'static Sampler> {
    SAMPLER.get()
}

/// The trace of a call that begins: its caller's, or a new one where the headers name none that is valid.
pub(crate) fn begin(headers: &HeaderMap, sampler: Option<&Sampler>) -> CallTrace {
    let parent = trace_context::read(headers);
    let trace_id = parent.as_ref().map_or_else(|| RandomIdGenerator::default().new_trace_id(), SpanContext::trace_id);
    let is_sampled = sampler.is_some_and(|sampler| decide(sampler, parent.as_ref(), trace_id));
    let is_passed_on = |parent: &SpanContext| sampler.is_none() || is_sampled || !parent.is_sampled();
    match parent {
        Some(parent) if is_passed_on(&parent) => CallTrace { context: parent, is_sampled },
        // The flag of this hop is another one than its caller's, so the next hop has to see another parent than this caller.
        Some(parent) => CallTrace { context: unsampled(trace_id, parent.trace_state().clone()), is_sampled },
        None => CallTrace { context: unsampled(trace_id, TraceState::NONE), is_sampled },
    }
}

fn unsampled(trace_id: TraceId, state: TraceState) -> SpanContext {
    let span_id = RandomIdGenerator::default().new_span_id();
    SpanContext::new(trace_id, span_id, TraceFlags::NOT_SAMPLED, false, state)
}

fn decide(sampler: &Sampler, parent: Option<&SpanContext>, trace_id: TraceId) -> bool {
    if let (Sampler::ParentBased(_), Some(parent)) = (sampler, parent) {
        return parent.is_sampled();
    }
    // The others don't look at parents.
    let result = sampler.should_sample(None, trace_id, "", &SpanKind::Server, &[], &[]);
    result.decision == SamplingDecision::RecordAndSample
}

/// Opens the span of a call, where it is sampled, in the trace that was begun for it.
pub(crate) fn open(trace: &mut CallTrace, span: impl FnOnce() -> Span) -> Span {
    if !trace.is_sampled {
        return Span::none();
    }
    let span = span();
    let parent = Some(&trace.context).filter(|context| context.is_remote());
    BEGUN.set(parent.is_none().then_some(trace.context.trace_id()));
    let context = parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent.clone()));
    let is_exported = span.set_parent(context).is_ok();
    let opened = if is_exported { span_context(&span) } else { SpanContext::NONE };
    BEGUN.set(None);
    if opened.is_valid() {
        trace.context = opened;
    }
    span
}

/// The ids of spans. A trace that was begun for a call keeps its id, by which it was sampled.
#[derive(Debug, Default)]
pub(crate) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        BEGUN.take().unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}

/// The span of a call to another hop. However that ends, its span says it, as OpenTelemetry's conventions for gRPC do: a call that nobody
/// waits for any more as CANCELLED, or as `DEADLINE_EXCEEDED` where its time is over.
#[derive(Debug)]
pub struct ClientSpan(Box<Opened>);

#[derive(Debug)]
struct Opened {
    span: Span,
    deadline: Deadline,
    ended: Option<Code>,
}

impl ClientSpan {
    /// Opens the span of a call with this deadline; none where it is not sampled, which costs nothing.
    pub fn open(deadline: Deadline, open: impl FnOnce() -> Span) -> Option<Self> {
        let span = client_span(open);
        (!span.is_none()).then(|| Self(Box::new(Opened { span, deadline, ended: None })))
    }

    /// The span, to make the call in.
    pub fn span(&self) -> &Span {
        &self.0.span
    }

    /// The call ended so.
    pub fn end(mut self, code: Code) {
        self.0.ended = Some(code);
    }

    /// The transport failed, which means this where time was left, and that the deadline is over where none was.
    pub fn break_off(mut self, code: Code) {
        self.0.ended = Some(code).filter(|_| !self.0.deadline.expired());
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let given_up = if self.deadline.expired() { Code::DeadlineExceeded } else { Code::Cancelled };
        end(&self.span, self.ended.unwrap_or(given_up), |code| code != Code::Ok);
    }
}

/// Says in a span how its call ended, and whether that is an error of it: straight to OpenTelemetry, whose span is exported, since as
/// fields they would only lengthen log lines.
pub(crate) fn end(span: &Span, code: Code, is_error: impl Fn(Code) -> bool) {
    let context = span.context();
    let span = context.span();
    span.set_attribute(KeyValue::new("rpc.response.status_code", code_name(code)));
    if is_error(code) {
        span.set_attribute(KeyValue::new("error.type", code_name(code)));
        span.set_status(Status::error(code_name(code)));
    }
}

/// Opens a span for what is done for a call, unless the call is not sampled. Where it is done for none, it is the first of a trace of
/// its own, where such are exported.
pub fn client_span(open: impl FnOnce() -> Span) -> Span {
    let is_sampled = of_current_call(|trace| trace.is_sampled).unwrap_or_else(|| sampler().is_some());
    if is_sampled { open() } else { Span::none() }
}

/// Whether spans that are opened now go nowhere.
pub(crate) fn is_unsampled() -> bool {
    of_current_call(CallTrace::is_unsampled).unwrap_or_default()
}

/// Writes the current span, or what the current call passes on where it is not sampled, into the headers of a request to the next
/// hop.
pub fn inject(headers: &mut HeaderMap) {
    if is_unsampled() {
        of_current_call(|trace| trace_context::write(&trace.context, headers));
        return;
    }
    let context = span_context(&Span::current());
    if context.is_valid() {
        trace_context::write(&context, headers);
    } else if of_current_call(|trace| trace_context::write(&trace.context, headers)).is_none() {
        headers.remove(trace_context::PARENT);
    }
}

/// A span in its trace, as W3C Trace Context has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanIds {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span.
    pub span_id: [u8; 8],
}

/// The span of a call, where it is sampled.
pub fn span_ids(call: &CurrentCall) -> Option<SpanIds> {
    let context = span_context(call.span());
    let ids = || SpanIds { trace_id: context.trace_id().to_bytes(), span_id: context.span_id().to_bytes() };
    context.is_sampled().then(ids)
}

/// Links the span of a call, where it has one, to one that is sampled, of whatever trace.
pub fn link(call: &CurrentCall, SpanIds { trace_id, span_id }: SpanIds) {
    let (trace, span) = (TraceId::from_bytes(trace_id), SpanId::from_bytes(span_id));
    call.span().add_link(SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE));
}

fn of_current_call<T>(look: impl FnOnce(&CallTrace) -> T) -> Option<T> {
    current_call::with(|call| call.trace().map(look)).flatten()
}

fn span_context(span: &Span) -> SpanContext {
    span.context().span().span_context().clone()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderName, HeaderValue};

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn begun(traceparent: &str, sampler: Option<&Sampler>) -> CallTrace {
        let parent = (HeaderName::from_static("traceparent"), HeaderValue::from_str(traceparent).unwrap());
        begin(&HeaderMap::from_iter([parent]), sampler)
    }

    fn parent(flags: &str) -> String {
        format!("00-{TRACE}-b7ad6b7169203331-{flags}")
    }

    fn by_parent(root: Sampler) -> Sampler {
        Sampler::ParentBased(Box::new(root))
    }

    #[test]
    fn callers_decision_stands_where_the_sampler_is_parent_based() {
        assert!(begun(&parent("01"), Some(&by_parent(Sampler::AlwaysOff))).is_sampled);
        assert!(!begun(&parent("00"), Some(&by_parent(Sampler::AlwaysOn))).is_sampled);
    }

    #[test]
    fn nothing_is_sampled_where_nothing_is_exported() {
        let trace = begun(&parent("01"), None);
        assert!(!trace.is_sampled);
        assert_eq!(trace.context.trace_id().to_string(), TRACE);
    }

    #[test]
    fn trace_without_a_parent_is_sampled_by_its_id() {
        let sampler = by_parent(Sampler::TraceIdRatioBased(0.5));
        let count = (0..1_000).filter(|_| begin(&HeaderMap::new(), Some(&sampler)).is_sampled).count();
        assert!((350..650).contains(&count), "{count} of 1000");
    }

    #[test]
    fn trace_that_this_hop_leaves_out_goes_on_unsampled_under_another_span() {
        let trace = begun(&parent("01"), Some(&Sampler::AlwaysOff));
        assert_eq!(trace.context.trace_id().to_string(), TRACE);
        assert_ne!(trace.context.span_id().to_string(), "b7ad6b7169203331");
        assert!(!trace.context.is_sampled());
    }

    #[test]
    fn invalid_traceparent_begins_a_new_trace() {
        let trace = begun("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", None);
        assert!(trace.context.is_valid());
        assert_ne!(trace.context.trace_id().to_string(), TRACE);
    }

    /// How the span of a call with so much time left ends.
    fn span_ended(left: Duration, end: impl FnOnce(ClientSpan)) -> Status {
        let spans = accord_test_log::Spans::default();
        let _guard = spans.start();
        let (span, deadline) = (tracing::info_span!("call"), Deadline::after(left));
        end(ClientSpan(Box::new(Opened { span, deadline, ended: None })));
        spans.ended().pop().unwrap().status
    }

    #[test]
    fn transport_error_at_the_deadline_ends_the_span_as_deadline_exceeded() {
        let broken = |left| span_ended(left, |span| span.break_off(Code::Internal));
        assert_eq!(broken(Duration::from_mins(1)), Status::error("INTERNAL"));
        assert_eq!(broken(Duration::ZERO), Status::error("DEADLINE_EXCEEDED"));
    }

    #[test]
    fn call_that_nobody_waits_for_ends_its_span_as_cancelled_and_after_the_deadline_as_that() {
        assert_eq!(span_ended(Duration::from_mins(1), drop), Status::error("CANCELLED"));
        assert_eq!(span_ended(Duration::ZERO, drop), Status::error("DEADLINE_EXCEEDED"));
    }
}
