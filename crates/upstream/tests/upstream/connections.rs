//! Connections that don't stand, fall silent, or die.

use std::time::Duration;

use accord_upstream::{ConnectCause, TransportError, UpstreamConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::raw::{DATA, HEADERS, Listener, PING, WINDOW_UPDATE, refusing};
use crate::{answer, one_connection, transport_error, unary, upstream};

const SHORT: Duration = Duration::from_millis(60);

fn watchful(config: &mut UpstreamConfig) {
    one_connection(config);
    config.keepalive_interval = SHORT;
    config.keepalive_timeout = SHORT;
}

#[tokio::test]
async fn refused_connection_says_that_nothing_listens() {
    let (_bound, address) = refusing();
    let outcome = unary(&upstream(&format!("http://{address}"), |_| {})).await.unwrap();
    assert_eq!(transport_error(&outcome.result.unwrap_err()), TransportError::Connect(ConnectCause::Refused));
}

/// What a call comes to whose peer sends these bytes in place of HTTP/2's first frame, and the rest of it.
async fn answered_with(bytes: &'static [u8]) -> TransportError {
    let listener = Listener::start().await;
    let call = unary(&upstream(&listener.url, one_connection));
    let mut socket = listener.accept_silently().await;
    socket.write_all(bytes).await.unwrap();
    socket.shutdown().await.unwrap();
    // Read to the end: with something unread, closing would reset the connection, and what was written be lost.
    socket.read_to_end(&mut Vec::new()).await.unwrap();
    transport_error(&call.await.unwrap().result.unwrap_err())
}

#[tokio::test]
async fn http1_server_is_told_from_other_peers_that_speak_no_http2() {
    let http1 = answered_with(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(http1, TransportError::Connect(ConnectCause::Http1));
    let other = answered_with(b"SSH-2.0-OpenSSH_9.9\r\n").await;
    assert_eq!(other, TransportError::Connect(ConnectCause::NotHttp2));
}

#[tokio::test]
async fn name_without_an_address_is_unresolved() {
    let outcome = unary(&upstream("http://shop.invalid:9000", |_| {})).await.unwrap();
    let failure = outcome.result.unwrap_err();
    assert_eq!(transport_error(&failure), TransportError::Connect(ConnectCause::Unresolved));
    assert!(failure.status("shop").message().contains("its name is not resolved to an address"), "{failure:?}");
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
    assert_eq!(
        transport_error(&call.await.unwrap().result.unwrap_err()),
        TransportError::Connect(ConnectCause::TimedOut)
    );
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

#[tokio::test]
async fn call_after_one_whose_connection_broke_goes_on_a_new_connection() {
    let listener = Listener::start().await;
    let upstream = upstream(&listener.url, |config| config.connections = 2);
    let calls = [unary(&upstream), unary(&upstream)];
    let mut broken = listener.accept(&[]).await;
    for _ in &calls {
        broken.next(DATA).await;
    }
    let mut older = listener.accept(&[]).await;
    // Who answers a ping has taken the connection for its own.
    older.write(PING, 0, 0, &[0; 8]).await;
    older.next(PING).await;
    drop(broken);
    for call in calls {
        assert_eq!(transport_error(&call.await.unwrap().result.unwrap_err()), TransportError::Broken);
    }
    let next = unary(&upstream);
    let mut peer = listener.accept(&[]).await;
    let stream = peer.next(DATA).await.stream;
    peer.answer(stream).await;
    answer(next.await.unwrap());
}
