//! Floods of HTTP/2 control frames are ended, and clients that read much are not taken for one.

use std::time::Duration;

use accord_runtime::server::ListenConfig;
use http_body_util::BodyExt;
use hyper::client::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::{
    call::request,
    probe::serve,
    wire::{PING, PRIORITY, SETTINGS, WINDOW_UPDATE, Wire, frame},
};

const GRACE: Duration = Duration::from_secs(1);
/// `ENHANCE_YOUR_CALM`.
const CALM: u32 = 11;
/// A type that no specification knows.
const UNKNOWN: u8 = 0x42;

/// Sends this frame again and again; the error code with which the server ends the connection.
async fn flood_with(frame: &[u8]) -> Option<u32> {
    let port = serve(&ListenConfig::default(), GRACE).await;
    let mut wire = Wire::open(port.address, &[]).await;
    wire.say(&frame.repeat(20_000)).await;
    wire.closed().await
}

#[tokio::test]
async fn flood_of_settings_ends_with_enhance_your_calm() {
    assert_eq!(flood_with(&frame(SETTINGS, 0, 0, &[])).await, Some(CALM));
}

#[tokio::test]
async fn flood_of_pings_ends_with_enhance_your_calm() {
    assert_eq!(flood_with(&frame(PING, 0, 0, &[0; 8])).await, Some(CALM));
}

#[tokio::test]
async fn flood_of_priorities_ends_with_enhance_your_calm() {
    assert_eq!(flood_with(&frame(PRIORITY, 0, 1, &[0; 5])).await, Some(CALM));
}

#[tokio::test]
async fn flood_of_window_updates_ends_with_enhance_your_calm() {
    assert_eq!(flood_with(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await, Some(CALM));
}

#[tokio::test]
async fn flood_of_unknown_frames_ends_with_enhance_your_calm() {
    assert_eq!(flood_with(&frame(UNKNOWN, 0, 0, &[])).await, Some(CALM));
}

#[tokio::test]
async fn window_updates_for_what_was_sent_are_no_flood() {
    let port = serve(&ListenConfig::default(), GRACE).await;
    let socket = TcpStream::connect(port.address).await.unwrap();
    let mut client = Builder::new(TokioExecutor::new());
    // So small that each frame is answered by an update.
    let client = client.initial_stream_window_size(1 << 10);
    let (mut sender, connection) = client.handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let mut body = sender.send_request(request("Flood", &[])).await.unwrap().into_body();
    let mut read = 0;
    while read < 6 << 20 {
        read += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
}
