//! An upstream under generated stubs.

use std::time::Duration;

use accord_upstream::Client;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::{HealthReporter, health_reporter};

use crate::raw::{HEADERS, Listener, refusing};
use crate::server::Server;
use crate::{one_connection, upstream};

async fn health() -> (String, HealthReporter) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (reporter, service) = health_reporter();
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (url, reporter)
}

fn client(url: &str) -> HealthClient<Client> {
    HealthClient::new(Client::new(upstream(url, one_connection)))
}

fn check() -> HealthCheckRequest {
    HealthCheckRequest { service: String::new() }
}

#[tokio::test]
async fn stub_makes_a_unary_call() {
    let (url, _reporter) = health().await;
    let answer = client(&url).check(check()).await.unwrap();
    assert_eq!(answer.into_inner().status, ServingStatus::Serving as i32);
}

#[tokio::test]
async fn stub_gets_the_status_of_a_handler() {
    let (url, _reporter) = health().await;
    let unknown = HealthCheckRequest { service: "nobody".into() };
    assert_eq!(client(&url).check(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn stub_reads_a_stream_as_it_comes() {
    let (url, reporter) = health().await;
    let mut answers = client(&url).watch(check()).await.unwrap().into_inner();
    for expected in [ServingStatus::Serving, ServingStatus::NotServing, ServingStatus::Serving] {
        reporter.set_service_status("", expected).await;
        assert_eq!(answers.message().await.unwrap().unwrap().status, expected as i32);
    }
}

#[tokio::test]
async fn stubs_deadline_passes_before_the_head_and_between_messages() {
    let mut server = Server::start().await;
    let mut client = client(&server.url);
    let request = || {
        let mut request = Request::new(check());
        request.set_timeout(Duration::from_millis(500));
        request
    };
    let mut unary = client.clone();
    let call = tokio::spawn(async move { unary.check(request()).await.unwrap_err() });
    let _never_answered = server.next().await;
    assert_eq!(call.await.unwrap().code(), Code::DeadlineExceeded);

    let call = tokio::spawn(async move { client.watch(request()).await.unwrap().into_inner().message().await });
    let _never_ended = server.next().await.head();
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn response_that_breaks_off_ends_a_stubs_stream_with_its_code() {
    let listener = Listener::start().await;
    let mut client = client(&listener.url);
    let call = tokio::spawn(async move { client.watch(check()).await.unwrap().into_inner().message().await });
    let mut peer = listener.accept(&[]).await;
    let stream = peer.next(HEADERS).await.stream;
    peer.head(stream).await;
    peer.close().await;
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn refused_connection_is_unavailable_with_what_the_system_said() {
    let (_bound, address) = refusing();
    let status = client(&format!("http://{address}")).check(check()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let cause = accord_runtime::fault::cause(&status);
    assert!(cause.starts_with("nothing listens at its address: Connection refused"), "{cause}");
    assert!(status.message().ends_with("nothing listens at its address"), "callers are told no more: {status:?}");
}

#[tokio::test]
async fn health_check_is_not_refused_by_max_in_flight() {
    let (url, reporter) = health().await;
    reporter.set_service_status("", ServingStatus::NotServing).await;
    let upstream = upstream(&url, |config| config.max_in_flight = 1);
    let mut stub = HealthClient::new(Client::new(upstream.clone()));
    let _held = stub.watch(check()).await.unwrap();
    assert_eq!(stub.check(check()).await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(upstream.check_health().await, accord_upstream::HealthStatus::NotServing);
}
