mod outliers;
mod owners;
mod scaling;
mod slow_start;
mod zones;

use accord_test_log::Log;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::net::{TcpListener, TcpSocket};
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;

use super::*;
use crate::body::ResponseBody;
use crate::client::Client;
use crate::config::KubernetesConfig;
use crate::connect_error::ConnectCause;
use crate::exchange;
use crate::metrics::EjectionCause;
use crate::payload::Payload;
use crate::transport_error::TransportError;

fn upstream(urls: &[String]) -> Arc<Upstream> {
    let config = UpstreamConfig { name: "shop".to_owned(), urls: urls.to_vec(), ..UpstreamConfig::default() };
    Upstream::new(&config).unwrap()
}

fn anywhere(count: u16) -> Arc<Upstream> {
    upstream(&(0..count).map(|index| format!("http://127.0.0.1:{}", 10_000 + index)).collect::<Vec<_>>())
}

/// A URL that refuses connections while its socket is held: it is bound, and does not listen.
fn refusing() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    (socket, url)
}

async fn healthy_server() -> String {
    reporting_server().await.0
}

async fn reporting_server() -> (String, HealthReporter) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (reporter, health) = tonic_health::server::health_reporter();
    let server = tonic::transport::Server::builder().add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (url, reporter)
}

fn head() -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
        (header::TE, HeaderValue::from_static("trailers")),
    ])
}

const CHECK: http::uri::PathAndQuery = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");

async fn check(upstream: &Arc<Upstream>, picked: Picked) -> Result<Response<ResponseBody>, TransportError> {
    let mut message = Payload::<Full<Bytes>>::Whole(Bytes::from_static(&[0; 5]));
    exchange::send_once(upstream, picked, &CHECK, head, &mut message).await
}

/// Which endpoints are drawn in a hundred draws.
fn drawn(upstream: &Arc<Upstream>) -> Vec<usize> {
    let endpoints = upstream.endpoints();
    let index = |endpoint| endpoints.iter().position(|it| Arc::ptr_eq(it, &endpoint)).unwrap();
    (0..100).map(|_| index(upstream.choose(None).unwrap())).collect()
}

#[tokio::test]
async fn less_loaded_of_two_endpoints_takes_the_call() {
    let upstream = anywhere(2);
    let (endpoints, now) = (upstream.endpoints(), Instant::now());
    for endpoint in endpoints.iter() {
        endpoint.enter().answered();
    }
    let _busy: Vec<_> = (0..1000).map(|_| endpoints[0].enter()).collect();
    assert!(endpoints[0].cost(now) > endpoints[1].cost(now));
    assert!(drawn(&upstream).iter().all(|index| *index == 1));
}

#[tokio::test]
async fn ejected_endpoint_takes_no_call_until_it_is_readmitted() {
    let upstream = anywhere(3);
    upstream.endpoints()[1].eject(EjectionCause::ConnectFailed);
    assert!(!drawn(&upstream).contains(&1));
    upstream.endpoints()[1].succeeded();
    assert!(drawn(&upstream).contains(&1));
}

#[tokio::test]
async fn ejection_and_readmission_are_logged_once_each() {
    let log = Log::default();
    let _guard = log.start();
    let upstream = anywhere(1);
    let endpoint = Arc::clone(&upstream.endpoints()[0]);
    for _ in 0..10 {
        endpoint.failed();
    }
    for _ in 0..2 {
        endpoint.succeeded();
    }
    assert_eq!((log.count("endpoint ejected"), log.count("endpoint readmitted")), (1, 1));
}

#[tokio::test]
async fn ejection_of_all_endpoints_refuses_no_call() {
    let upstream = anywhere(2);
    assert!(upstream.is_available());
    upstream.endpoints().iter().for_each(|endpoint| endpoint.eject(EjectionCause::ConnectFailed));
    assert!(!upstream.is_available(), "who can do without it is told");
    let drawn = drawn(&upstream);
    assert!(drawn.contains(&0) && drawn.contains(&1));
}

#[tokio::test(start_paused = true)]
async fn ejection_time_is_bounded() {
    let upstream = anywhere(1);
    let endpoint = Arc::clone(&upstream.endpoints()[0]);
    for _ in 0..50 {
        endpoint.eject(EjectionCause::ConnectFailed);
        assert!(endpoint.is_ejected(Instant::now()));
        tokio::time::advance(Duration::from_secs(12)).await;
        assert!(!endpoint.is_ejected(Instant::now()));
    }
}

#[tokio::test]
async fn ejection_needs_unavailable_answers_in_a_row() {
    let upstream = anywhere(1);
    let endpoint = Arc::clone(&upstream.endpoints()[0]);
    (0..4).for_each(|_| endpoint.failed());
    endpoint.succeeded();
    (0..4).for_each(|_| endpoint.failed());
    assert!(!endpoint.is_ejected(Instant::now()));
    endpoint.failed();
    assert!(endpoint.is_ejected(Instant::now()));
}

#[tokio::test]
async fn retry_goes_to_another_endpoint_where_there_is_one() {
    let upstream = anywhere(3);
    let failed = Arc::clone(&upstream.endpoints()[2]);
    let others = (0..100).map(|_| upstream.pick_other_than(&failed).unwrap());
    assert!(others.into_iter().all(|picked| !Arc::ptr_eq(picked.endpoint(), &failed)));
    let alone = anywhere(1);
    let only = Arc::clone(&alone.endpoints()[0]);
    assert!(Arc::ptr_eq(alone.pick_other_than(&only).unwrap().endpoint(), &only));
}

#[tokio::test]
async fn refused_connection_is_unprocessed_and_ejects_the_endpoint() {
    let (_bound, refusing) = refusing();
    let upstream = upstream(&[refusing, healthy_server().await]);
    let endpoints = upstream.endpoints();
    let error = check(&upstream, Picked::at(&endpoints[0])).await.unwrap_err();
    assert_eq!(error, TransportError::Connect(ConnectCause::Refused));
    assert!(error.is_unprocessed());
    for _ in 0..20 {
        let picked = upstream.pick().await.unwrap();
        assert!(Arc::ptr_eq(picked.endpoint(), &endpoints[1]));
        let response = check(&upstream, picked).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().trailers().unwrap()["grpc-status"], "0");
    }
}

#[tokio::test]
async fn request_that_breaks_off_is_not_held_against_the_endpoint() {
    let upstream = upstream(&[healthy_server().await]);
    for _ in 0..5 {
        let broken = futures_util::stream::iter([Err::<Frame<Bytes>, _>("over the bound")]);
        let mut payload = Payload::Stream(StreamBody::new(broken));
        let picked = upstream.pick().await.unwrap();
        let sent = exchange::send_once(&upstream, picked, &CHECK, head, &mut payload).await;
        assert_eq!(sent.unwrap_err(), TransportError::RequestBroken);
    }
    let endpoint = Arc::clone(&upstream.endpoints()[0]);
    assert!(!endpoint.is_ejected(Instant::now()));
    assert!(endpoint.cost(Instant::now()) < f64::EPSILON, "nor is its time");
}

#[tokio::test]
async fn in_flight_call_is_counted_until_the_last_byte_of_its_answer() {
    let upstream = upstream(&[healthy_server().await]);
    let endpoint = Arc::clone(&upstream.endpoints()[0]);
    let response = check(&upstream, upstream.pick().await.unwrap()).await.unwrap();
    assert_eq!(endpoint.in_flight(), 1);
    response.into_body().collect().await.unwrap();
    assert_eq!(endpoint.in_flight(), 0);
}

#[tokio::test]
async fn upstream_is_up_while_one_endpoint_lives() {
    let (_bound, refusing) = refusing();
    let upstream = upstream(&[refusing, healthy_server().await]);
    assert!(!upstream.is_up());
    assert_eq!(upstream.check_health().await, HealthStatus::Serving);
    assert!(upstream.is_up());
    assert!(upstream.endpoints()[0].is_ejected(Instant::now()));
}

#[tokio::test]
async fn health_check_tells_not_serving_from_unreachable() {
    let (url, reporter) = reporting_server().await;
    reporter.set_service_status("", ServingStatus::NotServing).await;
    let (_bound, refusing) = refusing();
    let waiting = upstream(&[url, refusing.clone()]);
    assert_eq!(waiting.check_health().await, HealthStatus::NotServing);
    assert!(!waiting.is_up());
    assert_eq!(upstream(&[refusing]).check_health().await, HealthStatus::Unreachable);
}

/// A discovery that says what a test says.
struct Told(Arc<watch::Sender<Addresses>>);

impl Discovery for Told {
    fn watch(&self) -> watch::Receiver<Addresses> {
        self.0.subscribe()
    }
}

fn addresses(urls: &[&str]) -> Addresses {
    let address = |url: &&str| {
        let url = Arc::new(Url::parse(url).unwrap());
        let Host::Address(socket) = url.host else { panic!("{url:?}") };
        Discovered::at(socket, &url)
    };
    urls.iter().map(address).collect()
}

/// An upstream whose endpoints are where its discovery says.
fn discovered(urls: &[&str]) -> (Arc<Upstream>, Arc<watch::Sender<Addresses>>) {
    discovered_in("", addresses(urls), |_| {})
}

/// The same in a zone.
fn discovered_in(
    zone: &str,
    found: Addresses,
    change: impl FnOnce(&mut UpstreamConfig),
) -> (Arc<Upstream>, Arc<watch::Sender<Addresses>>) {
    let told = Arc::new(watch::Sender::new(found));
    let mut config = UpstreamConfig { name: "shop".to_owned(), ..UpstreamConfig::default() };
    change(&mut config);
    let discoveries: Discoveries = Box::new([(Box::default(), Arc::new(Told(Arc::clone(&told))))]);
    let parts = Parts { trust: None, discoveries, versions: Versions::default() };
    let discovery = DiscoveryConfig { zone: zone.to_owned(), ..DiscoveryConfig::default() };
    let upstream = Upstream::discovered_by(&config, &discovery, parts, None);
    (upstream, told)
}

/// Endpoints without a server, by their ports.
fn nowhere(ports: impl IntoIterator<Item = u16>) -> Addresses {
    let url = Arc::new(Url::parse("http://catalog.shop").unwrap());
    ports.into_iter().map(|port| Discovered::at(([127, 0, 0, 1], port).into(), &url)).collect()
}

/// Draws in which shares of calls are counted: so many that no share is off by more than 0.02 but once in a million runs.
const DRAWS: u32 = 20_000;

/// The share of the calls that endpoints get whose ports are such.
fn share(upstream: &Upstream, is_meant: impl Fn(u16) -> bool) -> f64 {
    let port = |endpoint: Arc<Endpoint>| endpoint.address().socket.port();
    let meant = (0..DRAWS).filter(|_| is_meant(port(upstream.choose(None).unwrap()))).count();
    f64::from(u32::try_from(meant).unwrap()) / f64::from(DRAWS)
}

fn assert_near(share: f64, expected: f64) {
    assert!((share - expected).abs() < 0.02, "{share} is not about {expected}");
}

async fn discover(upstream: &Upstream, told: &watch::Sender<Addresses>, urls: &[&str]) {
    let mut changed = upstream.discovered.subscribe();
    told.send_replace(addresses(urls));
    changed.changed().await.unwrap();
}

fn any_service() -> HealthCheckRequest {
    HealthCheckRequest { service: String::new() }
}

#[tokio::test]
async fn removed_endpoint_gets_no_new_calls_and_its_call_in_flight_goes_on() {
    let (old, reporter) = reporting_server().await;
    let (new, new_reporter) = reporting_server().await;
    new_reporter.set_service_status("", ServingStatus::NotServing).await;
    let (upstream, told) = discovered(&[&old]);
    let mut client = HealthClient::new(Client::new(Arc::clone(&upstream)));
    let mut watching = client.watch(any_service()).await.unwrap().into_inner();
    assert_eq!(watching.message().await.unwrap().unwrap().status, ServingStatus::Serving as i32);

    discover(&upstream, &told, &[&new]).await;
    for _ in 0..10 {
        let answer = client.check(any_service()).await.unwrap().into_inner();
        assert_eq!(answer.status, ServingStatus::NotServing as i32, "the new one says so");
    }
    reporter.set_service_status("", ServingStatus::NotServing).await;
    assert_eq!(watching.message().await.unwrap().unwrap().status, ServingStatus::NotServing as i32);
}

#[tokio::test]
async fn added_endpoint_gets_calls_and_others_keep_their_state() {
    let (first, second) = (healthy_server().await, healthy_server().await);
    let (upstream, told) = discovered(&[&first]);
    let known = Arc::clone(&upstream.endpoints()[0]);
    known.eject(EjectionCause::ConnectFailed);
    discover(&upstream, &told, &[&first, &second]).await;
    assert!(Arc::ptr_eq(&known, &upstream.endpoints()[0]));
    assert!(drawn(&upstream).iter().all(|index| *index == 1));
}

#[tokio::test]
async fn call_waits_for_the_first_answer_of_discovery() {
    let server = healthy_server().await;
    let (upstream, told) = discovered(&[]);
    let urls = [server.as_str()];
    let (picked, ()) = tokio::join!(upstream.pick(), discover(&upstream, &told, &urls));
    check(&upstream, picked.unwrap()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn call_of_a_service_without_ready_pods_says_so() {
    let urls = vec!["http+k8s://catalog.shop:9000".to_owned()];
    // Nobody serves the API there.
    let (_bound, url) = refusing();
    let kubernetes = KubernetesConfig { url, ..KubernetesConfig::default() };
    let config = UpstreamConfig { name: "shop".to_owned(), urls, ..UpstreamConfig::default() };
    let discovery = DiscoveryConfig { kubernetes, ..DiscoveryConfig::default() };
    let upstream = Upstream::found_by(&config, &discovery, None).unwrap();
    let failure = HealthClient::new(Client::new(upstream)).check(any_service()).await.unwrap_err();
    assert!(failure.message().contains("none of its pods is ready"), "{failure}");
}
