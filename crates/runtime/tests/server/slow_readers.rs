//! A caller that does not read its answer keeps nothing beyond the deadline of its call.

use std::time::Duration;

use accord_runtime::server::ListenConfig;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tonic::Code;

use crate::{
    call::{Connection, status},
    probe::{serve, serve_http},
    wire::{END_HEADERS, END_STREAM, HEADERS, RST_STREAM, WINDOW_UPDATE, Wire, block, frame},
};

const PATIENCE: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(1);
/// `grpc-timeout: 100m`, as a literal header.
const TIMEOUT: &[u8] = b"\x00\x0cgrpc-timeout\x04100m";

/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const INITIAL_WINDOW: u16 = 4;

#[tokio::test]
async fn stream_without_window_is_reset_after_the_deadline() {
    let port = serve(&ListenConfig::default(), GRACE).await;
    // Nothing at all may be sent, or a little: both stop the server in the middle of an answer.
    for window in [0, 1] {
        let mut wire = Wire::open(port.address, &[(INITIAL_WINDOW, window)]).await;
        wire.say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &[&block("Flood"), TIMEOUT].concat())).await;
        timeout(PATIENCE, port.probe.let_go()).await.expect("the answer is let go");
        assert!(wire.next(RST_STREAM).await.is_some());
    }
}

#[tokio::test]
async fn slow_reader_of_a_stream_is_reset_after_the_deadline() {
    let port = serve(&ListenConfig::default(), GRACE).await;
    let mut wire = Wire::open(port.address, &[(INITIAL_WINDOW, 1)]).await;
    wire.say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &[&block("Flood"), TIMEOUT].concat())).await;
    let let_go = port.probe.let_go();
    tokio::pin!(let_go);
    let drops = async {
        loop {
            wire.say(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = drops => unreachable!(),
        ended = timeout(PATIENCE, let_go) => ended.expect("the answer is let go"),
    }
}

#[tokio::test]
async fn http1_connection_that_reads_nothing_is_cut_after_the_deadline() {
    let port = serve_http(&ListenConfig::default(), GRACE).await;
    let mut socket = TcpStream::connect(port.address).await.unwrap();
    let head = "POST /probe.v1.Probe/Flood HTTP/1.1\r\nhost: probe\r\ngrpc-timeout: 100m\r\ncontent-length: 0\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    timeout(PATIENCE, port.probe.let_go()).await.expect("the answer is let go");
}

#[tokio::test]
async fn stalled_stream_does_not_end_other_calls_of_its_connection() {
    let port = serve(&ListenConfig::default(), GRACE).await;
    let connection = Connection::open(port.address).await;
    // Never read, and its deadline passes while others are served.
    let unread = connection.call("Flood", &[("grpc-timeout", "100m")]).await.unwrap();
    timeout(PATIENCE, port.probe.let_go()).await.expect("the answer is let go");
    assert_eq!(status(connection.call("Answer", &[]).await.unwrap()).await.code(), Code::Ok);
    drop(unread);
}
