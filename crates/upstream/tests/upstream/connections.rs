//! Connections that don't stand, fall silent, or die.

use std::time::Duration;

use accord_upstream::{TransportError, UpstreamConfig};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::raw::{DATA, HEADERS, Listener, PING, WINDOW_UPDATE};
use crate::{answer, one_connection, transport_error, unary, upstream};

const SHORT: Duration = Duration::from_millis(60);

fn watchful(config: &mut UpstreamConfig) {
    one_connection(config);
    config.keepalive_interval = SHORT;
    config.keepalive_timeout = SHORT;
}

#[tokio::test]
async fn refused_connection_is_connect() {
    // It was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outcome = unary(&upstream(&format!("http://{address}"), |_| {})).await.unwrap();
    assert_eq!(transport_error(&outcome.result.unwrap_err()), TransportError::Connect);
}

#[tokio::test]
async fn connection_without_settings_is_given_up_before_a_call_is_sent() {
    let listener = Listener::start().await;
    let call = unary(&upstream(&listener.url, |config| {
        one_connection(config);
        config.connect_timeout = SHORT;
    }));
    let mut sent = Vec::new();
    let mut socket = listener.accept_silently().await;
    socket.read_to_end(&mut sent).await.unwrap();
    assert_eq!(transport_error(&call.await.unwrap().result.unwrap_err()), TransportError::Connect);
    // After the preface: length, kind, flags, stream, payload.
    let mut frames = &sent[24..];
    while let [a, b, c, kind, ..] = *frames {
        assert_ne!(kind, HEADERS);
        frames = &frames[9 + u32::from_be_bytes([0, a, b, c]) as usize..];
    }
}

#[tokio::test]
async fn connection_without_keepalive_answers_is_replaced() {
    let listener = Listener::start().await;
    let upstream = upstream(&listener.url, watchful);
    let call = unary(&upstream);
    let mut silent = listener.accept(&[]).await;
    silent.next(HEADERS).await;
    assert_eq!(transport_error(&call.await.unwrap().result.unwrap_err()), TransportError::Broken);

    let call = unary(&upstream);
    let mut peer = listener.accept(&[]).await;
    let stream = peer.next(HEADERS).await.stream;
    peer.answer(stream).await;
    answer(call.await.unwrap());
}

#[tokio::test]
async fn silence_after_an_unanswered_ping_and_other_bytes_breaks_the_call() {
    let listener = Listener::start().await;
    let call = unary(&upstream(&listener.url, watchful));
    let mut peer = listener.accept(&[]).await;
    peer.next(HEADERS).await;
    peer.next(PING).await;
    peer.write(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).await;
    assert_eq!(transport_error(&call.await.unwrap().result.unwrap_err()), TransportError::Broken);
}

#[tokio::test]
async fn peer_that_answers_pings_late_keeps_its_connection() {
    let listener = Listener::start().await;
    let call = unary(&upstream(&listener.url, watchful));
    let mut peer = listener.accept(&[]).await;
    let stream = peer.next(HEADERS).await.stream;
    let late = peer.next(PING).await;
    // Other bytes say that it lives, until the ping's time is over.
    for _ in 0..20 {
        peer.write(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).await;
        tokio::time::sleep(SHORT / 10).await;
    }
    peer.write(PING, 1, 0, &late.payload).await;
    for _ in 0..3 {
        let ping = peer.next(PING).await;
        peer.write(PING, 1, 0, &ping.payload).await;
    }
    peer.answer(stream).await;
    answer(call.await.unwrap());
}

#[tokio::test]
async fn idle_connection_that_died_is_replaced() {
    let listener = Listener::start().await;
    let upstream = upstream(&listener.url, one_connection);
    for _ in 0..2 {
        let call = unary(&upstream);
        let mut peer = listener.accept(&[]).await;
        let stream = peer.next(DATA).await.stream;
        peer.answer(stream).await;
        answer(call.await.unwrap());
        peer.close().await;
    }
}
