//! How the span of a call ends: with the call, and with what became of it.

use std::convert::Infallible;
use std::sync::Arc;

use accord_runtime::observe::Observe;
use accord_test_log::Spans;
use accord_upstream::{ResponseBody, Upstream};
use bytes::Bytes;
use h2::{Reason, SendStream};
use http::{Request, Response};
use http_body_util::BodyExt;
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::trace::Sampler;
use tower::{ServiceExt, service_fn};

use crate::server::{Received, Server, trailers};
use crate::{Calling, nothing, one_connection, upstream};

/// The answer to a call that is made for one that is sampled.
async fn sampled(upstream: Arc<Upstream>, spans: &Spans) -> Response<ResponseBody> {
    let (answered, answer) = tokio::sync::oneshot::channel();
    let call = async move {
        assert!(answered.send(Calling::default().stream(upstream, nothing()).await).is_ok());
        Ok::<_, Infallible>(Response::new(http_body_util::Empty::<Bytes>::new()))
    };
    let call = Arc::new(std::sync::Mutex::new(Some(call)));
    let service = service_fn(move |_: Request<()>| call.lock().unwrap().take().expect("one call is made"));
    let observed = Observe::new(service, Arc::new(|_: &str| None)).sample_by(Sampler::AlwaysOn);
    drop(observed.oneshot(Request::post("/").body(()).unwrap()).await.unwrap());
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(ends(spans), [], "the answer goes on");
    answer
}

/// A call whose answer has begun, at both sides.
async fn begun(server: &mut Server, spans: &Spans) -> (Response<ResponseBody>, Received, SendStream<Bytes>) {
    let upstream = upstream(&server.url, one_connection);
    let answering = async {
        let mut received = server.next().await;
        let stream = received.head();
        (received, stream)
    };
    let (answer, (received, stream)) = tokio::join!(sampled(upstream, spans), answering);
    (answer, received, stream)
}

/// How calls to upstreams have ended by their spans.
fn ends(spans: &Spans) -> Vec<(String, Status)> {
    let of_calls = spans.ended().into_iter().filter(|span| span.span_kind == SpanKind::Client);
    let code = |span: &opentelemetry_sdk::trace::SpanData| {
        let code = span.attributes.iter().find(|it| it.key.as_str() == "rpc.response.status_code");
        code.map(|code| code.value.to_string()).unwrap_or_default()
    };
    of_calls.map(|span| (code(&span), span.status)).collect()
}

#[tokio::test]
async fn span_of_a_call_ends_with_the_last_byte_of_its_answer() {
    let spans = Spans::default();
    let _guard = spans.start();
    let mut server = Server::start().await;
    let (answer, _received, mut stream) = begun(&mut server, &spans).await;
    stream.send_trailers(trailers("5", &[])).unwrap();
    let read = answer.into_body().collect().await.unwrap();
    assert_eq!(read.trailers().unwrap()["grpc-status"], "5");
    assert_eq!(ends(&spans), [("NOT_FOUND".to_owned(), Status::error("NOT_FOUND"))]);
}

#[tokio::test]
async fn span_of_a_call_whose_answer_is_reset_ends_with_the_code_of_the_reset() {
    let spans = Spans::default();
    let _guard = spans.start();
    let mut server = Server::start().await;
    let (answer, _received, mut stream) = begun(&mut server, &spans).await;
    stream.send_reset(Reason::ENHANCE_YOUR_CALM);
    answer.into_body().collect().await.unwrap_err();
    assert_eq!(ends(&spans), [("RESOURCE_EXHAUSTED".to_owned(), Status::error("RESOURCE_EXHAUSTED"))]);
}

#[tokio::test]
async fn span_of_a_call_whose_answer_nobody_reads_ends_as_cancelled() {
    let spans = Spans::default();
    let _guard = spans.start();
    let mut server = Server::start().await;
    let (answer, _received, _stream) = begun(&mut server, &spans).await;
    drop(answer);
    assert_eq!(ends(&spans), [("CANCELLED".to_owned(), Status::error("CANCELLED"))]);
}
