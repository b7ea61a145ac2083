//! Peers that take no more calls.

use accord_upstream::TransportError;
use http_body_util::BodyExt;

use crate::raw::{DATA, HEADERS, Listener};
use crate::server::Server;
use crate::{answer, nothing, one_connection, stream, transport_error, unary, upstream};

const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const MOST: u32 = (1 << 31) - 1;

#[tokio::test]
async fn graceful_goaway_lets_a_call_finish_and_the_next_one_uses_another_connection() {
    let mut server = Server::start().await;
    let upstream = upstream(&server.url, one_connection);
    let call = stream(&upstream, nothing());
    let mut first = server.next().await;
    server.leave(0).await;
    let mut body = first.head();
    let response = call.await.unwrap().unwrap();

    let next = unary(&upstream);
    let mut second = server.next().await;
    assert_eq!((first.connection, second.connection), (0, 1));
    second.answer(&[0; 5]);
    answer(next.await.unwrap());

    body.send_data("late".into(), true).unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "late");
}

#[tokio::test]
async fn call_survives_goaway_on_all_of_many_connections() {
    let mut server = Server::with_streams(2).await;
    let upstream = upstream(&server.url, one_connection);
    let (mut ending, mut going_on) = (Vec::new(), Vec::new());
    for index in 0..16 {
        let call = stream(&upstream, nothing());
        let mut received = server.next().await;
        if index % 2 == 1 {
            server.leave(received.connection).await;
        }
        let mut body = received.head();
        let response = call.await.unwrap().unwrap();
        // One of two goes on, so that its connection does as well.
        if index % 2 == 0 {
            going_on.push((response, received, body));
        } else {
            body.send_data("".into(), true).unwrap();
            ending.push(response);
        }
    }
    for response in ending {
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(server.connections(), 8);
    let call = unary(&upstream);
    server.next().await.answer(&[0; 5]);
    answer(call.await.unwrap());
    assert_eq!((server.connections(), going_on.len()), (9, 8));
}

#[tokio::test]
async fn call_beyond_the_last_stream_of_a_goaway_is_sent_again_once() {
    let listener = Listener::start().await;
    let upstream = upstream(&listener.url, one_connection);
    let call = unary(&upstream);
    let mut leaving = listener.accept(&[]).await;
    leaving.next(DATA).await;
    leaving.go_away(0, NO_ERROR).await;
    let mut peer = listener.accept(&[]).await;
    let again = peer.next(DATA).await;
    assert_eq!(&again.payload[5..], b"hello");
    peer.answer(again.stream).await;
    let outcome = call.await.unwrap();
    assert!(!outcome.may_have_acted_before);
    answer(outcome);
}

#[tokio::test]
async fn call_beyond_the_last_stream_of_two_goaways_is_refused() {
    let listener = Listener::start().await;
    let call = unary(&upstream(&listener.url, one_connection));
    let mut peers = Vec::new();
    for _ in 0..2 {
        let mut leaving = listener.accept(&[]).await;
        leaving.next(DATA).await;
        leaving.go_away(0, NO_ERROR).await;
        peers.push(leaving);
    }
    assert_eq!(transport_error(&call.await.unwrap().result.unwrap_err()), TransportError::Refused);
}

#[tokio::test]
async fn call_that_a_graceful_goaway_covers_is_not_sent_again_when_the_connection_breaks() {
    let listener = Listener::start().await;
    let call = unary(&upstream(&listener.url, one_connection));
    let mut leaving = listener.accept(&[]).await;
    leaving.next(HEADERS).await;
    leaving.go_away(MOST, NO_ERROR).await;
    leaving.close().await;
    assert_eq!(transport_error(&call.await.unwrap().result.unwrap_err()), TransportError::Broken);
}

#[tokio::test]
async fn call_on_a_connection_that_is_given_up_with_the_code_of_a_refused_stream_is_not_sent_again() {
    for last in [0, MOST] {
        let listener = Listener::start().await;
        let call = unary(&upstream(&listener.url, one_connection));
        let mut leaving = listener.accept(&[]).await;
        leaving.next(DATA).await;
        leaving.go_away(last, REFUSED_STREAM).await;
        leaving.close().await;
        assert_eq!(transport_error(&call.await.unwrap().result.unwrap_err()), TransportError::Broken, "{last}");
    }
}
