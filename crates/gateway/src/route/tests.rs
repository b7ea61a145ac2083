use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;

use super::*;

fn upstream(urls: &[String]) -> Arc<Upstream> {
    let config = UpstreamConfig { name: "shop".to_owned(), urls: urls.to_vec(), ..UpstreamConfig::default() };
    Upstream::new(&config).unwrap()
}

fn anywhere(count: u16) -> Arc<Upstream> {
    upstream(&(0..count).map(|index| format!("http://127.0.0.1:{}", 10_000 + index)).collect::<Vec<_>>())
}

/// An address that refuses connections: it was free a moment ago.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn healthy_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = tonic::transport::Server::builder().add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

fn health_check() -> http::Request<Body> {
    http::Request::post("/grpc.health.v1.Health/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(http_body_util::Full::from(&[0_u8; 5][..])))
        .unwrap()
}

fn drawn(upstream: &Arc<Upstream>) -> Vec<usize> {
    (0..100).map(|_| upstream.choose(None)).collect()
}

#[tokio::test]
async fn the_less_loaded_of_two_takes_the_call() {
    let upstream = anywhere(2);
    let now = Instant::now();
    for endpoint in &upstream.endpoints {
        let mut seat = endpoint.enter();
        seat.answered();
    }
    let _busy: Vec<_> = (0..1000).map(|_| upstream.endpoints[0].enter()).collect();
    assert!(upstream.endpoints[0].cost(now) > upstream.endpoints[1].cost(now));
    assert!(drawn(&upstream).iter().all(|index| *index == 1));
}

#[tokio::test]
async fn one_that_cannot_be_reached_is_set_aside() {
    let upstream = anywhere(3);
    upstream.endpoints[1].eject();
    assert!(!drawn(&upstream).contains(&1));
    upstream.endpoints[1].succeeded();
    assert!(drawn(&upstream).contains(&1));
}

#[tokio::test]
async fn never_all_are_set_aside() {
    let upstream = anywhere(2);
    upstream.endpoints.iter().for_each(|endpoint| endpoint.eject());
    let drawn = drawn(&upstream);
    assert!(drawn.contains(&0) || drawn.contains(&1));
    assert_eq!(drawn.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn being_set_aside_is_bounded() {
    let upstream = anywhere(1);
    for _ in 0..50 {
        upstream.endpoints[0].eject();
        tokio::time::advance(Duration::from_secs(12)).await;
        assert!(!upstream.endpoints[0].is_ejected(Instant::now()));
    }
}

#[tokio::test]
async fn unavailable_answers_in_a_row_set_an_endpoint_aside_and_a_good_one_in_between_does_not() {
    let upstream = anywhere(1);
    let endpoint = &upstream.endpoints[0];
    (0..4).for_each(|_| endpoint.faltered());
    endpoint.succeeded();
    (0..4).for_each(|_| endpoint.faltered());
    assert!(!endpoint.is_ejected(Instant::now()));
    endpoint.faltered();
    assert!(endpoint.is_ejected(Instant::now()));
}

#[tokio::test]
async fn another_endpoint_is_tried_after_a_failure_where_there_is_one() {
    let upstream = anywhere(3);
    assert!((0..100).all(|_| upstream.pick_other_than(2).index() != 2));
    assert_eq!(anywhere(1).pick_other_than(0).index(), 0);
}

#[tokio::test]
async fn a_call_to_nobody_was_never_sent_and_the_next_goes_elsewhere() {
    let upstream = upstream(&[nobody().await, format!("http://{}", healthy_server().await)]);
    let dead = Picked { index: 0, seat: upstream.endpoints[0].enter(), upstream: Arc::clone(&upstream) };
    let error = dead.call(health_check(), || false).await.unwrap_err();
    assert_eq!(error, Unreachable::Connect);
    assert!(error.never_seen());
    for _ in 0..20 {
        let picked = upstream.pick();
        assert_eq!(picked.index(), 1);
        let response = picked.call(health_check(), || false).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().trailers().unwrap()["grpc-status"], "0");
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_is_not_held_against_the_endpoint() {
    let upstream = upstream(&[format!("http://{}", healthy_server().await)]);
    for (is_cut_off, ejected) in [(true, false), (false, true)] {
        for _ in 0..5 {
            let broken = futures_util::stream::iter([Err::<http_body::Frame<bytes::Bytes>, _>("over the bound")]);
            let request = health_check().map(|_| Body::new(http_body_util::StreamBody::new(broken)));
            upstream.pick().call(request, || is_cut_off).await.unwrap_err();
        }
        assert_eq!(upstream.endpoints[0].is_ejected(Instant::now()), ejected);
    }
}

#[tokio::test]
async fn a_deadline_that_passes_is_not_held_against_the_endpoint() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = upstream(&[format!("http://{}", silent.local_addr().unwrap())]);
    for _ in 0..5 {
        let mut request = health_check();
        request.headers_mut().insert("grpc-timeout", "1m".parse().unwrap());
        assert_eq!(upstream.pick().call(request, || false).await.unwrap_err(), Unreachable::Late);
    }
    assert!(!upstream.endpoints[0].is_ejected(Instant::now()));
}

#[tokio::test]
async fn a_seat_is_held_until_the_last_byte_of_the_answer() {
    let upstream = upstream(&[format!("http://{}", healthy_server().await)]);
    let response = upstream.pick().call(health_check(), || false).await.unwrap();
    assert_eq!(upstream.endpoints[0].in_flight(), 1);
    response.into_body().collect().await.unwrap();
    assert_eq!(upstream.endpoints[0].in_flight(), 0);
}

#[tokio::test]
async fn an_upstream_is_up_while_one_endpoint_lives() {
    let upstream = upstream(&[nobody().await, format!("http://{}", healthy_server().await)]);
    assert!(!upstream.is_up());
    assert_eq!(upstream.probe().await, Liveness::Serving);
    assert!(upstream.is_up());
    assert!(upstream.endpoints[0].is_ejected(Instant::now()));
}

#[tokio::test]
async fn an_upstream_that_is_not_ready_is_told_from_one_that_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    let server = tonic::transport::Server::builder().add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let waiting = upstream(&[url, nobody().await]);
    assert_eq!(waiting.probe().await, Liveness::Waiting);
    assert!(!waiting.is_up());
    assert_eq!(upstream(&[nobody().await]).probe().await, Liveness::Away);
}

#[test]
fn an_upstream_needs_a_url() {
    let config = UpstreamConfig { name: "shop".to_owned(), ..UpstreamConfig::default() };
    let message = Upstream::new(&config).unwrap_err().to_string();
    assert!(message.contains("--upstream shop=http://host:port"), "{message}");
}
