//! No call outlives its deadline, and what has come too late is not even begun.

use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_runtime::{
    deadline::Deadline,
    fault::reason_of,
    grpc_server::{BOUNDS, GrpcServer, Unguarded},
    health::Health,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tonic::Code;
use tower::ServiceExt;

use crate::{
    call::{request, status},
    probe::Probe,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn handler_that_never_answers_ends_at_the_deadline() {
    let begun = Instant::now();
    let answer = Probe::default().grpc_server().oneshot(request("Never", &[("grpc-timeout", "1S")])).await.unwrap();
    let status = status(answer).await;
    assert_eq!((status.code(), reason_of(&status)), (Code::DeadlineExceeded, Some(Reason::DeadlineExceeded)));
    assert_eq!(begun.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn endless_response_body_ends_at_the_deadline() {
    let begun = Instant::now();
    let answer = Probe::default().grpc_server().oneshot(request("Endless", &[("grpc-timeout", "1S")])).await.unwrap();
    let mut body = answer.into_body();
    assert!(body.frame().await.unwrap().unwrap().is_data());
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "4");
    assert!(body.frame().await.is_none());
    assert_eq!(begun.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn deadline_is_the_default_where_none_is_asked_and_the_cap_where_more_is() {
    let asked: [(&[(&str, &str)], u64); 3] =
        [(&[], 2), (&[("grpc-timeout", "99S")], 5), (&[("grpc-timeout", "3S")], 3)];
    for (headers, seconds) in asked {
        let server = GrpcServer::new(&Health::new(), Unguarded::new())
            .service(Probe::default())
            .deadline(2 * SECOND, 5 * SECOND);
        let begun = Instant::now();
        let answer = server.into_service().unwrap().oneshot(request("Never", headers)).await.unwrap();
        assert_eq!(status(answer).await.code(), Code::DeadlineExceeded);
        assert_eq!(begun.elapsed().as_secs(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn grpc_server_without_declared_deadlines_is_bounded_too() {
    let begun = Instant::now();
    let answer = Probe::default().grpc_server().oneshot(request("Never", &[])).await.unwrap();
    assert_eq!(status(answer).await.code(), Code::DeadlineExceeded);
    assert_eq!(Some(begun.elapsed().as_secs()), BOUNDS.default.map(|default| default.as_secs()));
}

#[tokio::test(start_paused = true)]
async fn health_watch_outlives_the_default_deadline() {
    let health = Health::new();
    let server = GrpcServer::new(&health, Unguarded::new()).into_service().unwrap();
    // An empty HealthCheckRequest in its five bytes of frame.
    let watch = request("/grpc.health.v1.Health/Watch", &[]).map(|_| Full::new(Bytes::from_static(&[0; 5])));
    let mut body = server.oneshot(watch).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().unwrap().is_data());
    tokio::time::sleep(10 * SECOND).await;
    health.dependency("store", false);
    assert!(body.frame().await.unwrap().unwrap().is_data());
}

#[tokio::test]
async fn expired_call_reaches_no_handler() {
    let probe = Probe::default();
    let answer = probe.grpc_server().oneshot(request("Answer", &[("grpc-timeout", "0m")])).await.unwrap();
    assert_eq!(status(answer).await.code(), Code::DeadlineExceeded);
    assert_eq!(probe.calls(), 0);
    let answer = probe.grpc_server().oneshot(request("Answer", &[("grpc-timeout", "1M")])).await.unwrap();
    assert_eq!(status(answer).await.code(), Code::Ok);
    assert_eq!(probe.calls(), 1);
}

#[tokio::test]
async fn malformed_grpc_timeout_is_invalid_argument() {
    let probe = Probe::default();
    for malformed in ["5", "soon", "123456789S", "-1S"] {
        let answer = probe.grpc_server().oneshot(request("Answer", &[("grpc-timeout", malformed)])).await.unwrap();
        let status = status(answer).await;
        assert_eq!((status.code(), reason_of(&status)), (Code::InvalidArgument, Some(Reason::TimeoutMalformed)));
    }
    assert_eq!(probe.calls(), 0);
}

#[tokio::test]
async fn two_grpc_timeouts_are_invalid_argument() {
    let twice = [("grpc-timeout", "1S"), ("grpc-timeout", "2S")];
    let answer = Probe::default().grpc_server().oneshot(request("Answer", &twice)).await.unwrap();
    let status = status(answer).await;
    assert_eq!((status.code(), reason_of(&status)), (Code::InvalidArgument, Some(Reason::TimeoutMalformed)));
}

#[tokio::test]
async fn handler_finds_its_deadline_in_the_request() {
    use accord_runtime::enforce::{Bounds, Enforce};
    let seen = tower::service_fn(|request: http::Request<()>| async move {
        let mut response = http::Response::new(http_body_util::Empty::<bytes::Bytes>::new());
        if let Some(deadline) = request.extensions().get::<Deadline>().copied() {
            response.extensions_mut().insert(deadline);
        }
        Ok::<_, std::convert::Infallible>(response)
    });
    let bounds = Bounds { default: Some(SECOND), max: None };
    let response =
        Enforce::new(seen, std::sync::Arc::new(move |_| bounds)).oneshot(http::Request::new(())).await.unwrap();
    let left = response.extensions().get::<Deadline>().unwrap().remaining();
    assert!(left > Duration::ZERO && left <= SECOND);
}
