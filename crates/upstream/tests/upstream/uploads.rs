//! Request bodies on their way out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use accord_upstream::TransportError;
use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::bodies::{Frames, Pipe, data, pipe};
use crate::server::{PATIENCE, Server};
use crate::{one_connection, stream, transport_error, unary, upstream};

const CHUNK: usize = 64 << 10;
const CHUNKS: usize = 80;

#[tokio::test]
async fn upload_is_read_no_further_than_the_peer_takes() {
    let mut server = Server::start().await;
    let body = Frames::of((0..CHUNKS).map(|index| Bytes::from(vec![u8::try_from(index).unwrap(); CHUNK])));
    let taken = Arc::clone(&body.taken);
    let call = stream(&upstream(&server.url, one_connection), body);
    let mut received = server.next().await;
    let mut whole = Vec::new();
    while let Some(read) = received.request.body_mut().data().await {
        let read = read.unwrap();
        whole.extend_from_slice(&read);
        // The peer's window holds one chunk; one waits beside it, and one was read to see whether that is all.
        let most = whole.len() / CHUNK + 4;
        assert!(taken.load(Ordering::Relaxed) <= most, "{} of {most}", taken.load(Ordering::Relaxed));
        received.request.body_mut().flow_control().release_capacity(read.len()).unwrap();
    }
    assert!((0..CHUNKS).all(|index| whole[index * CHUNK..][..CHUNK].iter().all(|byte| usize::from(*byte) == index)));
    assert_eq!(whole.len(), CHUNKS * CHUNK);
    received.head().send_data("".into(), true).unwrap();
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn frames_without_bytes_are_not_sent() {
    let mut server = Server::start().await;
    let mut frames = vec![data(b"begun")];
    // The peer's library ends the connection after a hundred of them.
    frames.extend((0..500).map(|_| data(b"")));
    frames.extend([data(b" and ended"), data(b"")]);
    let call = stream(&upstream(&server.url, one_connection), Frames::new(frames));
    let mut received = server.next().await;
    assert_eq!(received.body().await.unwrap(), "begun and ended");
    received.head().send_data("".into(), true).unwrap();
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn streamed_request_body_arrives_as_it_comes() {
    let mut server = Server::start().await;
    let (pipe, body) = pipe();
    let call = stream(&upstream(&server.url, one_connection), body);
    let mut received = server.next().await;
    for part in [&b"one"[..], b"two"] {
        pipe.send(Ok(data(part))).await.unwrap();
        assert_eq!(received.request.body_mut().data().await.unwrap().unwrap(), part);
    }
    drop(pipe);
    assert!(received.body().await.unwrap().is_empty());
    received.head().send_data("".into(), true).unwrap();
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn empty_body_and_empty_last_frame_end_the_stream() {
    let mut server = Server::start().await;
    let upstream = upstream(&server.url, one_connection);
    let bodies = [vec![], vec![data(b"")], vec![data(b"some"), data(b"")], vec![data(b"so"), data(b"me"), data(b"")]];
    for (body, expected) in bodies.into_iter().zip(["", "", "some", "some"]) {
        let call = stream(&upstream, Frames::new(body));
        let mut received = server.next().await;
        assert_eq!(received.body().await.unwrap(), expected);
        received.head().send_data("".into(), true).unwrap();
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn trailers_of_a_request_arrive() {
    let mut server = Server::start().await;
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), HeaderValue::from_static("7"))]);
    for body in [vec![], vec![data(b"some")], vec![data(b"so"), data(b"me")]] {
        let frames = body.into_iter().chain([Frame::trailers(trailers.clone())]);
        let call = stream(&upstream(&server.url, one_connection), Frames::new(frames));
        let mut received = server.next().await;
        received.body().await.unwrap();
        assert_eq!(received.request.body_mut().trailers().await.unwrap().unwrap(), trailers);
        received.head().send_data("".into(), true).unwrap();
        call.await.unwrap().unwrap();
    }
}

/// Waits until the body of an upload was let go.
async fn is_let_go(pipe: &Pipe) {
    timeout(PATIENCE, pipe.closed()).await.expect("the upload goes on");
}

#[tokio::test]
async fn dropped_call_resets_its_stream_and_stops_its_upload() {
    let mut server = Server::start().await;
    let (pipe, body) = pipe();
    let call = stream(&upstream(&server.url, one_connection), body);
    let mut received = server.next().await;
    call.abort();
    assert_eq!(received.given_up().await, Reason::CANCEL);
    is_let_go(&pipe).await;
}

#[tokio::test]
async fn dropped_answer_resets_its_stream_and_stops_its_upload() {
    let mut server = Server::start().await;
    let (pipe, body) = pipe();
    let call = stream(&upstream(&server.url, one_connection), body);
    let mut received = server.next().await;
    let mut answer = received.head();
    drop(call.await.unwrap().unwrap());
    let reset = timeout(PATIENCE, std::future::poll_fn(|context| answer.poll_reset(context)));
    assert_eq!(reset.await.unwrap().unwrap(), Reason::CANCEL);
    is_let_go(&pipe).await;
}

#[tokio::test]
async fn dropped_unary_call_resets_its_stream() {
    let mut server = Server::start().await;
    let call = unary(&upstream(&server.url, one_connection));
    let mut received = server.next().await;
    call.abort();
    assert_eq!(received.given_up().await, Reason::CANCEL);
}

#[tokio::test]
async fn whole_answer_stops_an_upload_that_nobody_reads() {
    let mut server = Server::start().await;
    let (pipe, body) = pipe();
    let call = stream(&upstream(&server.url, one_connection), body);
    let mut received = server.next().await;
    received.answer(&[0; 5]);
    let response = call.await.unwrap().unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().trailers().unwrap()["grpc-status"], "0");
    is_let_go(&pipe).await;
}

#[tokio::test]
async fn peer_that_resets_stops_the_upload() {
    let mut server = Server::start().await;
    let (pipe, body) = pipe();
    let call = stream(&upstream(&server.url, one_connection), body);
    server.next().await.respond.send_reset(Reason::INTERNAL_ERROR);
    assert_eq!(transport_error(&call.await.unwrap().unwrap_err()), TransportError::Reset(Reason::INTERNAL_ERROR));
    is_let_go(&pipe).await;
}

#[tokio::test]
async fn body_that_breaks_off_before_the_head_is_the_requests_fault() {
    let mut server = Server::start().await;
    let upstream = upstream(&server.url, one_connection);
    // More of them in a row than eject an endpoint.
    for _ in 0..6 {
        let (pipe, body) = pipe();
        let call = stream(&upstream, body);
        let mut received = server.next().await;
        pipe.send(Err("gone")).await.unwrap();
        assert_eq!(transport_error(&call.await.unwrap().unwrap_err()), TransportError::RequestBroken);
        assert_eq!(received.given_up().await, Reason::CANCEL);
    }
    assert!(upstream.is_available());
}

#[tokio::test]
async fn body_that_breaks_off_after_the_head_is_the_requests_fault() {
    let mut server = Server::start().await;
    let (pipe, body) = pipe();
    let call = stream(&upstream(&server.url, one_connection), body);
    let mut received = server.next().await;
    let _answer = received.head();
    let response = call.await.unwrap().unwrap();
    pipe.send(Err("gone")).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap_err(), TransportError::RequestBroken);
}

#[tokio::test]
async fn slow_request_body_does_not_delay_the_response_head() {
    let mut server = Server::start().await;
    let (pipe, body) = pipe();
    let call = stream(&upstream(&server.url, one_connection), body);
    let mut received = server.next().await;
    let mut answer = received.head();
    let response = timeout(Duration::from_secs(10), call).await.unwrap().unwrap().unwrap();
    pipe.send(Ok(data(b"late"))).await.unwrap();
    drop(pipe);
    assert_eq!(received.body().await.unwrap(), "late");
    answer.send_data("".into(), true).unwrap();
    response.into_body().collect().await.unwrap();
}
