//! W3C trace context in and out, whether spans are exported or not.
//!
//! Without an exporter no OpenTelemetry span is ever built: the incoming context (or a fresh one) is kept beside the
//! `tracing` span and passed on as it came, so one trace still joins the logs of every hop.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    propagation::{Extractor, TextMapPropagator},
    trace::{SpanContext, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{IdGenerator, RandomIdGenerator},
};
use tracing::{Dispatch, Span, span::Id};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Registry, registry::LookupSpan};

use crate::request_id::never_indexed;

/// The context that a span has from its caller, kept in the span's extensions.
struct Inherited(SpanContext);

/// Makes `span` a child of the trace that `headers` name, or the start of a new one where they name none that is valid.
/// Returns the trace's id.
pub fn adopt(span: &Span, headers: &HeaderMap) -> TraceId {
    let incoming = TraceContextPropagator::new().extract(&Headers(headers));
    let parent = incoming.span().span_context().clone();
    if span.set_parent(incoming).is_ok() {
        return span.context().span().span_context().trace_id();
    }
    let context = if parent.is_valid() { parent } else { fresh() };
    let trace = context.trace_id();
    in_registry(span, |registry, id| {
        if let Some(span) = registry.span(id) {
            span.extensions_mut().replace(Inherited(context));
        }
    });
    trace
}

/// Writes the current span's trace into the headers of a request to the next hop.
pub fn inject(headers: &mut HeaderMap) {
    let context = current();
    if !context.is_valid() {
        return;
    }
    let sampled = context.trace_flags() & TraceFlags::SAMPLED;
    let parent = format!("00-{}-{}-{sampled:02x}", context.trace_id(), context.span_id());
    // An empty tracestate says nothing, so it isn't sent.
    let state = Some(context.trace_state().header()).filter(|state| !state.is_empty());
    for (name, value) in [("traceparent", Some(parent)), ("tracestate", state)] {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            // Every call has another one.
            headers.insert(name, never_indexed(value));
        }
    }
}

/// The trace context of the current span; invalid outside of any call.
pub fn current() -> SpanContext {
    let span = Span::current();
    let exported = span.context().span().span_context().clone();
    if exported.is_valid() { exported } else { inherited(&span).unwrap_or(SpanContext::NONE) }
}

/// Links the current span to another call's: a wait for work that the other one does.
pub fn link(other: &SpanContext) {
    if other.is_valid() {
        Span::current().add_link(other.clone());
    }
}

fn fresh() -> SpanContext {
    let ids = RandomIdGenerator::default();
    SpanContext::new(ids.new_trace_id(), ids.new_span_id(), TraceFlags::default(), false, TraceState::default())
}

fn inherited(span: &Span) -> Option<SpanContext> {
    let mut found = None;
    in_registry(span, |registry, id| {
        let mut scope = registry.span(id).into_iter().flat_map(|span| span.scope());
        found = scope.find_map(|span| span.extensions().get::<Inherited>().map(|inherited| inherited.0.clone()));
    });
    found
}

fn in_registry(span: &Span, visit: impl FnOnce(&Registry, &Id)) {
    span.with_subscriber(|(id, dispatch): (&Id, &Dispatch)| {
        if let Some(registry) = dispatch.downcast_ref::<Registry>() {
            visit(registry, id);
        }
    });
}

/// Whether a `traceparent` has the form of W3C's Trace Context, section 3.2: the propagator would fill up ids that are too
/// short. A later version may say more after a hyphen.
fn well_formed(traceparent: &[u8]) -> bool {
    let in_form = |(place, byte): (usize, &u8)| match place {
        2 | 35 | 52 | 55 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    let complete = traceparent.len() == 55 || traceparent.len() > 55 && !traceparent.starts_with(b"00");
    complete && traceparent.iter().take(56).enumerate().all(in_form)
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key)?.to_str().ok()?;
        (key != "traceparent" || well_formed(value.as_bytes())).then_some(value)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn passed_on(incoming: &'static str) -> String {
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry());
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static("traceparent"), HeaderValue::from_static(incoming))]);
        let span = tracing::info_span!("call");
        adopt(&span, &headers);
        let _entered = span.enter();
        let _deeper = tracing::info_span!("step").entered();
        let mut outgoing = HeaderMap::new();
        inject(&mut outgoing);
        outgoing["traceparent"].to_str().unwrap().to_owned()
    }

    #[test]
    fn trace_of_the_caller_is_passed_on_without_an_exporter() {
        assert_eq!(passed_on(PARENT), PARENT);
    }

    #[test]
    fn tracestate_is_passed_on() {
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry());
        let said = [("traceparent", PARENT), ("tracestate", "vendor=one,other=two")];
        let incoming = HeaderMap::from_iter(said.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())));
        let span = tracing::info_span!("call");
        adopt(&span, &incoming);
        let _entered = span.enter();
        let mut outgoing = HeaderMap::new();
        inject(&mut outgoing);
        assert_eq!(outgoing, incoming);
    }

    #[test]
    fn invalid_traceparent_starts_a_new_trace() {
        for invalid in [
            "nonsense",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            let begun = passed_on(invalid);
            assert_eq!(begun.len(), PARENT.len(), "{invalid} became {begun}");
            assert!(
                !begun.contains("0af7651916cd43dd") && !begun.contains("0000000000000000"),
                "{invalid} became {begun}"
            );
        }
    }

    #[test]
    fn unsampled_parent_is_not_sampled() {
        let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        assert_eq!(passed_on(unsampled), unsampled);
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes-later";
        assert_eq!(passed_on(later), PARENT);
    }

    #[test]
    fn span_is_the_parent_where_an_exporter_is_set() {
        use opentelemetry::trace::TracerProvider;
        let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static("traceparent"), HeaderValue::from_static(PARENT))]);
        let span = tracing::info_span!("call");
        assert_eq!(adopt(&span, &headers).to_string(), "0af7651916cd43dd8448eb211c80319c");
        let _entered = span.enter();
        let mut outgoing = HeaderMap::new();
        inject(&mut outgoing);
        let passed_on = outgoing["traceparent"].to_str().unwrap();
        assert!(passed_on.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{passed_on}");
        assert_ne!(passed_on, PARENT);
    }
}
