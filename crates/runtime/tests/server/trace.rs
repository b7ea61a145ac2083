//! One trace from hop to hop: the server's span is a child of the caller's and tells how the call ended.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use accord_runtime::{
    observe::{MethodSeries, Observe},
    request,
    request::RequestId,
};
use accord_test_log::Spans;
use http::{HeaderMap, Request, Response};
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::trace::Sampler;
use tower::{ServiceExt, service_fn};
use tracing::{
    Subscriber,
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Samples what its caller samples, and what begins here.
fn sampler() -> Sampler {
    Sampler::ParentBased(Box::new(Sampler::AlwaysOn))
}

/// Counts the spans that are opened, whether somebody exports them or not.
#[derive(Clone, Debug, Default)]
struct Opened(Arc<AtomicUsize>);

impl<S: Subscriber> Layer<S> for Opened {
    fn on_new_span(&self, _: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Answers UNAVAILABLE and gives back what it would have sent to the next hop.
async fn next_hop(_: Request<()>) -> Result<Response<http_body_util::Empty<bytes::Bytes>>, std::convert::Infallible> {
    let mut outgoing = HeaderMap::new();
    let deadline = accord_runtime::deadline::Deadline::after(std::time::Duration::from_secs(1));
    request::carry(&mut outgoing, deadline, &RequestId::new());
    let mut response = Response::new(http_body_util::Empty::new());
    response.headers_mut().insert("passed-on", outgoing["traceparent"].clone());
    response.headers_mut().insert("grpc-status", "14".parse().unwrap());
    Ok(response)
}

#[tokio::test]
async fn unsampled_parent_is_not_sampled() {
    let spans = Spans::default();
    let _guard = spans.start();

    let service = Observe::new(service_fn(next_hop), Arc::new(|_: &str| None)).sample_by(sampler());
    let call = Request::post("/").header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-00")).body(()).unwrap();
    let passed_on = service.oneshot(call).await.unwrap().headers()["passed-on"].to_str().unwrap().to_owned();
    assert!(passed_on.starts_with(&format!("00-{TRACE}-")) && passed_on.ends_with("-00"), "{passed_on}");
    assert!(spans.ended().is_empty());
}

#[tokio::test]
async fn call_that_is_not_sampled_opens_no_span() {
    let opened = Opened::default();
    let _guard = accord_test_log::set_default(tracing_subscriber::registry().with(opened.clone()));
    let exported = Observe::new(service_fn(next_hop), Arc::new(|_: &str| None)).sample_by(sampler());
    let nowhere = Observe::new(service_fn(next_hop), Arc::new(|_: &str| None));
    for (service, flags, spans) in [(&exported, "00", 0), (&nowhere, "01", 0), (&exported, "01", 1)] {
        let parent = format!("00-{TRACE}-b7ad6b7169203331-{flags}");
        let call = Request::post("/").header("traceparent", &parent).body(()).unwrap();
        let answer = service.clone().oneshot(call).await.unwrap();
        assert_eq!(opened.0.load(Ordering::Relaxed), spans, "{parent}");
        assert!(answer.headers()["passed-on"].to_str().unwrap().starts_with(&format!("00-{TRACE}-")));
    }
}

#[tokio::test]
async fn trace_of_the_caller_is_passed_on_as_it_came_where_nothing_is_exported() {
    let service = Observe::new(service_fn(next_hop), Arc::new(|_: &str| None));
    let call = Request::post("/").header("traceparent", PARENT).body(()).unwrap();
    assert_eq!(service.oneshot(call).await.unwrap().headers()["passed-on"], PARENT);
}

#[tokio::test]
async fn excluded_path_begins_no_trace() {
    let kept = Spans::default();
    let _guard = kept.start();

    let answer = service_fn(async |_| Ok(Response::new(http_body_util::Empty::<bytes::Bytes>::new())));
    let service = Observe::new(answer, Arc::new(|_: &str| None)).exclude(&["/livez"]).sample_by(sampler());
    for (path, spans) in [("/livez", 0), ("/livez/", 1)] {
        drop(service.clone().oneshot(Request::get(path).body(()).unwrap()).await.unwrap());
        assert_eq!(kept.ended().len(), spans, "{path}");
    }
}

#[tokio::test]
async fn server_span_is_the_parent_of_outbound_calls() {
    let kept = Spans::default();
    let _guard = kept.start();

    let naming = Arc::new(|path: &str| Some(MethodSeries::new(path.trim_start_matches('/'))));
    let service = Observe::new(service_fn(next_hop), naming).sample_by(sampler());
    let call = Request::post("/shop.v1.Cart/Get").header("traceparent", PARENT).body(()).unwrap();
    let response = service.oneshot(call).await.unwrap();
    let passed_on = response.headers()["passed-on"].to_str().unwrap().to_owned();
    drop(response);

    let spans = kept.ended();
    let [span] = spans.as_slice() else { panic!("{} spans", spans.len()) };
    assert_eq!((span.name.as_ref(), &span.span_kind), ("shop.v1.Cart/Get", &SpanKind::Server));
    assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
    assert_eq!(span.status, Status::error("UNAVAILABLE"));
    assert_eq!(passed_on, format!("00-{TRACE}-{}-01", span.span_context.span_id()));
}
