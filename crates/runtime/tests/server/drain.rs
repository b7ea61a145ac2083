//! A restart fails no call: what is in flight ends, what doesn't end is cut when the grace is over.

use std::{io::Write, net::SocketAddr, time::Duration};

use accord_runtime::{server::ListenConfig, shutdown::Shutdown};
use http_body_util::BodyExt;
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, timeout},
};
use tonic::Code;

use crate::{
    call::{Connection, status},
    probe::serve,
    wire::{END_HEADERS, END_STREAM, HEADERS, Wire, block, frame},
};

const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_mins(10);
const SHORT: Duration = Duration::from_millis(200);

/// A request of HTTP/1.1, which the probe answers however it can.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: probe\r\n\r\n";

/// All that comes back until the connection is closed.
async fn answer(socket: std::net::TcpStream) -> String {
    socket.set_nonblocking(true).unwrap();
    let (mut socket, mut bytes) = (TcpStream::from_std(socket).unwrap(), Vec::new());
    timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.expect("an end").expect("no reset");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Ends when nobody listens any more.
async fn refused(address: SocketAddr) {
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn drain_waits_for_a_call_in_flight() {
    let port = serve(&ListenConfig::default(), LONG).await;
    let connection = Connection::open(port.address).await;
    let call = connection.begin("Wait");
    port.probe.arrived().await;

    port.shutdown.begin();
    timeout(PATIENCE, refused(port.address)).await.unwrap();
    assert!(!port.served.is_finished());
    port.probe.release();

    assert_eq!(call.await.unwrap().code(), Code::Ok);
    timeout(PATIENCE, port.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn drain_closes_idle_connections() {
    let port = serve(&ListenConfig::default(), LONG).await;
    let connection = Connection::open(port.address).await;
    assert_eq!(status(connection.call("Answer", &[]).await.unwrap()).await.code(), Code::Ok);
    let silent = TcpStream::connect(port.address).await.unwrap();

    port.shutdown.begin();
    timeout(PATIENCE, port.served).await.unwrap().unwrap();
    timeout(PATIENCE, connection.closed()).await.unwrap();
    drop(silent);
}

#[tokio::test]
async fn request_of_a_connection_that_nobody_had_taken_when_the_drain_began_is_answered() {
    let port = serve(&ListenConfig::default(), LONG).await;
    // The kernel takes it; that no task of this thread runs in between keeps the server from seeing it before.
    let mut socket = std::net::TcpStream::connect(port.address).unwrap();
    socket.write_all(REQUEST).unwrap();

    port.shutdown.begin();
    assert!(answer(socket).await.starts_with("HTTP/1.1 "));
    timeout(PATIENCE, port.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn first_request_of_a_connection_that_was_open_when_the_drain_began_is_answered() {
    let port = serve(&ListenConfig::default(), LONG).await;
    let mut socket = std::net::TcpStream::connect(port.address).unwrap();
    // A call on a later connection shows that the one before has been taken.
    let other = Connection::open(port.address).await;
    assert_eq!(status(other.call("Answer", &[]).await.unwrap()).await.code(), Code::Ok);

    port.shutdown.begin();
    timeout(PATIENCE, refused(port.address)).await.unwrap();
    socket.write_all(REQUEST).unwrap();
    assert!(answer(socket).await.starts_with("HTTP/1.1 "));
    timeout(PATIENCE, port.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn first_call_of_an_http2_connection_that_was_open_when_the_drain_began_is_answered() {
    let port = serve(&ListenConfig::default(), LONG).await;
    let socket = TcpStream::connect(port.address).await.unwrap();
    let other = Connection::open(port.address).await;
    assert_eq!(status(other.call("Answer", &[]).await.unwrap()).await.code(), Code::Ok);

    port.shutdown.begin();
    timeout(PATIENCE, refused(port.address)).await.unwrap();
    let connection = Connection::over(socket).await;
    assert_eq!(status(connection.call("Answer", &[]).await.unwrap()).await.code(), Code::Ok);
    timeout(PATIENCE, port.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn drain_does_not_wait_for_a_peer_that_ignores_goaway() {
    let port = serve(&ListenConfig::default(), LONG).await;
    // It never acknowledges the ping that comes with a GOAWAY, as a peer that is gone without a word.
    let mut deaf = Wire::open(port.address, &[]).await;
    deaf.say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block("Answer"))).await;
    assert!(deaf.next(HEADERS).await.is_some());

    port.shutdown.begin();
    timeout(PATIENCE, port.served).await.expect("the drain ends").unwrap();
}

#[tokio::test]
async fn drain_cuts_an_endless_stream_after_the_grace() {
    let port = serve(&ListenConfig::default(), SHORT).await;
    let connection = Connection::open(port.address).await;
    let mut body = connection.call("Endless", &[]).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().unwrap().is_data());

    let begun = Instant::now();
    port.shutdown.begin();
    timeout(PATIENCE, port.served).await.unwrap().unwrap();
    assert!(begun.elapsed() >= SHORT);
    assert!(timeout(PATIENCE, body.frame()).await.unwrap().is_none_or(|frame| frame.is_err()));
}

#[tokio::test(start_paused = true)]
async fn later_stage_of_a_shutdown_has_what_is_left_of_the_grace() {
    let shutdown = Shutdown::new(LONG);
    let later = shutdown.later();
    shutdown.begin();
    tokio::time::advance(LONG / 4).await;
    assert!(!later.is_begun());
    later.begin();
    assert_eq!((later.is_begun(), later.remaining()), (true, LONG * 3 / 4));
}

#[tokio::test]
async fn connection_at_max_age_gets_goaway_and_finishes_its_call() {
    let config = ListenConfig { max_connection_age: SHORT, ..ListenConfig::default() };
    let port = serve(&config, LONG).await;
    let connection = Connection::open(port.address).await;
    let call = connection.begin("Wait");
    port.probe.arrived().await;
    // GOAWAY shows as a refusal of new calls, while the one in flight is still open.
    timeout(PATIENCE, async { while connection.call("Answer", &[]).await.is_ok() {} }).await.unwrap();
    assert!(!call.is_finished());

    port.probe.release();
    assert_eq!(call.await.unwrap().code(), Code::Ok);
    timeout(PATIENCE, connection.closed()).await.unwrap();
}

#[tokio::test]
async fn connection_beyond_max_age_grace_is_cut() {
    let config = ListenConfig { max_connection_age: SHORT, max_connection_age_grace: SHORT, ..ListenConfig::default() };
    let port = serve(&config, LONG).await;
    let connection = Connection::open(port.address).await;
    let mut body = connection.call("Endless", &[]).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().unwrap().is_data());
    assert!(timeout(PATIENCE, body.frame()).await.unwrap().is_none_or(|frame| frame.is_err()));
}
