//! Peers that attack the protocol itself: each is stopped, and the listener goes on.

use std::time::Duration;

use accord_runtime::server::ListenConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::Code;

use crate::{
    call::{Connection, status},
    probe::{Port, serve, serve_http},
    wire::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, Wire, block, frame,
    },
};

const PATIENCE: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(1);
/// `ENHANCE_YOUR_CALM`.
const CALM: u32 = 11;
/// `REFUSED_STREAM`.
const REFUSED_STREAM: u32 = 7;
/// Far more than the buffers of two sockets hold, and than any server should take without an answer being read.
const FLOOD: usize = 64 << 20;

async fn still_serves(port: &Port) {
    let connection = Connection::open(port.address).await;
    assert_eq!(status(connection.call("Answer", &[]).await.unwrap()).await.code(), Code::Ok);
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let port = serve(&ListenConfig::default(), GRACE).await;
    let mut wire = Wire::open(port.address, &[]).await;
    let block = block("Never");
    let resets: Vec<u8> = (0..1000)
        .map(|call| 2 * call + 1)
        .flat_map(|stream| {
            let cancel = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
            [frame(HEADERS, END_STREAM | END_HEADERS, stream, &block), cancel].concat()
        })
        .collect();
    wire.say(&resets).await;
    assert_eq!(wire.closed().await, Some(CALM));
    assert!(port.probe.calls() < 1000);
    still_serves(&port).await;
}

#[tokio::test]
async fn headers_that_never_end_close_the_connection() {
    let port = serve(&ListenConfig::default(), GRACE).await;
    let mut wire = Wire::open(port.address, &[]).await;
    wire.say(&frame(HEADERS, 0, 1, &block("Answer"))).await;
    let mut more = Vec::new();
    for number in 0..10_000_u32 {
        let name = format!("x-{number:08}");
        let field = [&[0x00, 10], name.as_bytes(), &[0]].concat();
        more.extend(frame(CONTINUATION, 0, 1, &field));
    }
    wire.say(&more).await;
    wire.closed().await;
    assert_eq!(port.probe.calls(), 0);
    still_serves(&port).await;
}

#[tokio::test]
async fn headers_that_unpack_to_far_more_are_refused() {
    let port = serve(&ListenConfig::default(), GRACE).await;
    let mut wire = Wire::open(port.address, &[]).await;
    // One header of 2 KiB into the dynamic table, then a byte for each of two thousand repetitions.
    let first = [&[0x40, 1, b'x', 0x7f, 0x81, 0x0f][..], &[b'y'; 2048]].concat();
    let bomb = [block("Answer"), first, vec![0xbe; 2000]].concat();
    wire.say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &bomb)).await;
    // Answered with 431 or reset, and the handler is not reached.
    wire.say(&frame(PING, 0, 0, &[0; 8])).await;
    wire.next(PING).await;
    assert_eq!(port.probe.calls(), 0);
    still_serves(&port).await;
}

#[tokio::test]
async fn unread_answers_to_pings_and_settings_are_bounded() {
    let port = serve(&ListenConfig::default(), GRACE).await;
    for asking in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])] {
        let mut wire = Wire::open(port.address, &[]).await;
        let flood = asking.repeat(FLOOD / asking.len());
        assert!(
            !wire.takes(&flood, Duration::from_secs(1)).await,
            "the server took 64 MiB without an answer being read"
        );
    }
    still_serves(&port).await;
}

#[tokio::test]
async fn empty_frames_without_end_close_the_connection() {
    let port = serve(&ListenConfig::default(), GRACE).await;
    let mut wire = Wire::open(port.address, &[]).await;
    wire.say(&frame(HEADERS, END_HEADERS, 1, &block("Never"))).await;
    wire.say(&frame(DATA, 0, 1, &[]).repeat(100_000)).await;
    assert_eq!(wire.closed().await, Some(CALM));
    still_serves(&port).await;
}

#[tokio::test]
async fn tiny_frames_with_something_in_them_are_no_flood() {
    let port = serve(&ListenConfig::default(), GRACE).await;
    let mut wire = Wire::open(port.address, &[]).await;
    wire.say(&frame(HEADERS, END_HEADERS, 1, &block("Take"))).await;
    // No more at a time than is read, as a stream of small messages comes: what nobody reads may be few.
    for _ in 0..40 {
        wire.say(&frame(DATA, 0, 1, &[0]).repeat(500)).await;
        wire.say(&frame(PING, 0, 0, &[7; 8])).await;
        assert_eq!(wire.next_of(&[PING, GOAWAY]).await, Some((PING, vec![7; 8])));
    }
}

#[tokio::test]
async fn stream_beyond_max_streams_is_refused() {
    let config = ListenConfig { max_streams: 2, ..ListenConfig::default() };
    let port = serve(&config, GRACE).await;
    let mut wire = Wire::open(port.address, &[]).await;
    for stream in [1, 3, 5] {
        wire.say(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &block("Never"))).await;
    }
    assert_eq!(wire.next(RST_STREAM).await.as_deref(), Some(&REFUSED_STREAM.to_be_bytes()[..]));
    assert!(port.probe.calls() <= 2);
}

#[tokio::test]
async fn keepalive_cuts_a_peer_that_answers_no_ping() {
    let short = Duration::from_millis(50);
    let config = ListenConfig { keepalive_interval: short, keepalive_timeout: short, ..ListenConfig::default() };
    let port = serve(&config, GRACE).await;
    let mut wire = Wire::open(port.address, &[]).await;
    wire.closed().await;
}

#[tokio::test]
async fn request_with_two_content_lengths_closes_the_connection() {
    let port = serve_http(&ListenConfig::default(), GRACE).await;
    let head = "POST /probe.v1.Probe/Answer HTTP/1.1\r\nhost: probe\r\n";
    let smuggled = "0\r\n\r\nPOST /probe.v1.Probe/Answer HTTP/1.1\r\nhost: probe\r\ncontent-length: 0\r\n\r\n";
    for lengths in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: +5\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
    ] {
        let mut socket = TcpStream::connect(port.address).await.unwrap();
        socket.write_all(format!("{head}{lengths}\r\n{smuggled}").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect(lengths).unwrap();
        let answers = String::from_utf8_lossy(&answer);
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{lengths:?}: {answers}");
    }
    still_serves(&port).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let port = serve_http(&ListenConfig::default(), GRACE).await;
    let mut socket = TcpStream::connect(port.address).await.unwrap();
    let call = "POST /probe.v1.Probe/Answer HTTP/1.1\r\nhost: probe\r\ncontent-length: 0\r\n";
    socket.write_all(format!("{call}\r\n{call}\r\n{call}connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut answers)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&answers).matches("HTTP/1.1 200").count(), 3);
    assert_eq!(port.probe.calls(), 3);
}
