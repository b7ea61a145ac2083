//! A listener's bounds hold against peers that take their time or too much.

use std::{convert::Infallible, net::Ipv4Addr, time::Duration};

use accord_api::accord::fault::v1::Reason;
use accord_runtime::{
    fault::reason_of,
    grpc_server::{GrpcBody, GrpcServer, GrpcService, Unguarded},
    health::Health,
    server::{ListenConfig, Peer},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Response;
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tonic::{Code, service::Routes};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;

use crate::{
    call::{Connection, request, status},
    probe::serve,
};

const PATIENCE: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn slow_headers_are_cut_at_the_header_timeout() {
    let config = ListenConfig { header_timeout: Duration::from_millis(100), ..ListenConfig::default() };
    let port = serve(&config, GRACE).await;
    for beginning in ["", "PRI * HTTP", "GET / HTTP/1.1\r\nhost: probe\r\nslow:"] {
        let mut socket = TcpStream::connect(port.address).await.unwrap();
        socket.write_all(beginning.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect(beginning).unwrap();
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{beginning:?} was answered");
    }
    assert_eq!(port.probe.calls(), 0);
}

#[tokio::test]
async fn request_body_that_does_not_arrive_ends_at_the_deadline() {
    let port = serve(&ListenConfig::default(), GRACE).await;
    // A message is announced, and half of its prefix sent.
    let half = stream::once(std::future::ready(Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"\0\0")))));
    let body = StreamBody::new(Box::pin(half.chain(stream::pending())));
    let request = request("/grpc.health.v1.Health/Check", &[("grpc-timeout", "100m")]).map(|_| body);
    let socket = TcpStream::connect(port.address).await.unwrap();
    let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let answer = timeout(PATIENCE, sender.send_request(request)).await.expect("an end").unwrap();
    assert_eq!(status(answer).await.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn http1_and_http2_are_served_on_one_port() {
    let port = serve(&ListenConfig::default(), GRACE).await;
    let mut socket = TcpStream::connect(port.address).await.unwrap();
    socket.write_all(b"GET /nowhere HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 ") && answer.contains("x-request-id: "), "{answer}");
}

#[tokio::test]
async fn headers_beyond_the_limit_are_refused() {
    let config = ListenConfig { max_header_bytes: 4096, ..ListenConfig::default() };
    let port = serve(&config, GRACE).await;
    let connection = Connection::open(port.address).await;
    let long = "x".repeat(8192);
    let refused = connection.call("Answer", &[("padding", &long)]).await;
    assert!(refused.is_err_or_status(431), "{refused:?}");
    assert_eq!(port.probe.calls(), 0);
}

#[tokio::test]
async fn connection_beyond_max_connections_waits_for_another_to_end() {
    let config = ListenConfig { max_connections: 1, ..ListenConfig::default() };
    let port = serve(&config, GRACE).await;
    let first = Connection::open(port.address).await;
    assert_eq!(status(first.call("Answer", &[]).await.unwrap()).await.code(), Code::Ok);

    let address = port.address;
    let second = tokio::spawn(async move {
        let second = Connection::open(address).await;
        status(second.call("Answer", &[]).await.unwrap()).await.code()
    });
    // As long as the first is open, its calls are served and the second's are not.
    for _ in 0..50 {
        assert_eq!(status(first.call("Answer", &[]).await.unwrap()).await.code(), Code::Ok);
    }
    assert!(!second.is_finished());
    drop(first);
    assert_eq!(timeout(PATIENCE, second).await.unwrap().unwrap(), Code::Ok);
}

#[tokio::test]
async fn idle_connections_of_one_address_leave_room_for_others() {
    let hour = Duration::from_hours(1);
    let config = ListenConfig { max_connections: 4, header_timeout: hour, ..ListenConfig::default() };
    let port = serve(&config, GRACE).await;
    let mut greedy = Vec::new();
    for _ in 0..4 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
        greedy.push(socket.connect(port.address).await.unwrap());
    }
    let neighbour = Connection::open(port.address).await;
    let answer = timeout(PATIENCE, neighbour.call("Answer", &[])).await.expect("room").unwrap();
    assert_eq!(status(answer).await.code(), Code::Ok);
    for socket in &mut greedy[2..] {
        assert!(!matches!(timeout(PATIENCE, socket.read(&mut [0])).await.expect("an end"), Ok(1)));
    }
}

trait Refusal {
    fn is_err_or_status(&self, status: u16) -> bool;
}

impl<B> Refusal for hyper::Result<http::Response<B>> {
    fn is_err_or_status(&self, status: u16) -> bool {
        self.as_ref().map_or(true, |answer| answer.status() == status)
    }
}

/// A watch of health from this address: its answer's head, whose body keeps it open.
async fn watch(server: &GrpcService<Routes>, address: [u8; 4]) -> Response<GrpcBody> {
    // An empty HealthCheckRequest in its five bytes of frame.
    let mut watch = request("/grpc.health.v1.Health/Watch", &[]).map(|_| Full::new(Bytes::from_static(&[0; 5])));
    watch.extensions_mut().insert(Peer { address: (address, 1).into(), tls: false, connection: 1, certificate: None });
    server.clone().oneshot(watch).await.unwrap()
}

#[tokio::test]
async fn health_watches_of_one_address_leave_room_for_those_of_others() {
    let server = GrpcServer::new(&Health::new(), Unguarded::new()).into_service().unwrap();
    let mut open = Vec::new();
    let refused = loop {
        let answer = watch(&server, [192, 0, 2, 1]).await;
        if answer.headers().contains_key("grpc-status") {
            break status(answer).await;
        }
        open.push(answer);
        assert!(open.len() < 2000, "without a bound");
    };
    assert_eq!((refused.code(), reason_of(&refused)), (Code::ResourceExhausted, Some(Reason::Overloaded)));
    assert!(refused.get_details_retry_info().is_some(), "{refused:?}");
    assert!(!watch(&server, [192, 0, 2, 2]).await.headers().contains_key("grpc-status"));
    open.pop();
    assert!(!watch(&server, [192, 0, 2, 1]).await.headers().contains_key("grpc-status"), "one is free again");
}
