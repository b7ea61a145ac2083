//! Answers: their bytes, and the bounds on their metadata.

use std::future::poll_fn;

use accord_api::accord::fault::v1::Reason;
use accord_runtime::fault;
use accord_upstream::{Failure, grpc};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use tokio::time::timeout;
use tonic::Code;

use crate::raw::{HEADERS, Listener, RST_STREAM};
use crate::server::{PATIENCE, Received, Server, trailers};
use crate::{answer, nothing, one_connection, stream, unary, upstream};

const MOST: u32 = 4096;

/// What stands at a place of a large answer.
fn byte_at(index: usize) -> u8 {
    (index >> 10).to_le_bytes()[0]
}

#[tokio::test]
async fn large_answer_comes_whole_and_in_order() {
    let mut server = Server::start().await;
    let call = stream(&upstream(&server.url, one_connection), nothing());
    let mut body = server.next().await.head();
    tokio::spawn(async move {
        let mut left = Bytes::from((0..5 << 20).map(byte_at).collect::<Vec<_>>());
        while !left.is_empty() {
            body.reserve_capacity(left.len());
            let room = poll_fn(|context| body.poll_capacity(context)).await.unwrap().unwrap();
            body.send_data(left.split_to(room), false).unwrap();
        }
        body.send_trailers(trailers("0", &[])).unwrap();
    });
    let (mut response, mut read) = (call.await.unwrap().unwrap().into_body(), 0_usize);
    while let Some(frame) = response.frame().await {
        if let Ok(data) = frame.unwrap().into_data() {
            assert!(data.iter().enumerate().all(|(index, byte)| *byte == byte_at(read + index)));
            read += data.len();
        }
    }
    assert_eq!(read, 5 << 20);
}

#[tokio::test]
async fn message_split_over_frames_is_one_message() {
    let mut server = Server::start().await;
    let call = unary(&upstream(&server.url, one_connection));
    let mut body = server.next().await.head();
    for part in ["", "\0\0", "", "\0\0\x05he", "l", "lo", ""] {
        body.send_data(part.into(), false).unwrap();
    }
    body.send_trailers(trailers("0", &[])).unwrap();
    assert_eq!(answer(call.await.unwrap()).result.unwrap(), "hello");
}

/// As many as the window of a stream takes of the smallest ones, within a factor of four.
const MESSAGES: usize = 50_000;

#[tokio::test]
async fn stalled_reader_of_tiny_messages_does_not_end_its_connection() {
    let mut server = Server::start().await;
    let upstream = upstream(&server.url, one_connection);
    let stalled = stream(&upstream, nothing());
    let mut received = server.next().await;
    let mut body = received.head();
    let response = stalled.await.unwrap().unwrap();
    for _ in 0..MESSAGES {
        body.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
    }
    body.send_trailers(trailers("0", &[])).unwrap();
    // What is sent in many turns has arrived when many more calls were answered.
    for _ in 0..500 {
        let other = unary(&upstream);
        server.next().await.answer(&[0; 5]);
        answer(other.await.unwrap());
    }
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), MESSAGES * 5);
    assert_eq!(server.connections(), 1);
}

/// As many as servers allow on a connection, each with more than its window takes.
const STALLED: usize = 100;

#[tokio::test]
async fn many_stalled_readers_leave_their_connection_to_others() {
    let mut server = Server::start().await;
    let upstream = upstream(&server.url, one_connection);
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let call = stream(&upstream, nothing());
        let mut received = server.next().await;
        let mut body = received.head();
        body.send_data(vec![0; 2 << 20].into(), false).unwrap();
        stalled.push((call.await.unwrap().unwrap(), body, received));
    }
    let other = unary(&upstream);
    server.next().await.answer(&[0; 5]);
    answer(timeout(PATIENCE, other).await.expect("the stalled readers hold the connection's window").unwrap());
    assert_eq!((server.connections(), stalled.len()), (1, STALLED));
}

/// More than the HTTP/2 library forgives by itself.
const CALLS: usize = 1500;

#[tokio::test]
async fn late_answers_to_cancelled_calls_do_not_end_their_connection() {
    let listener = Listener::start().await;
    let upstream = upstream(&listener.url, one_connection);
    let calls: Vec<_> = (0..CALLS).map(|_| unary(&upstream)).collect();
    let mut peer = listener.accept(&[]).await;
    let mut streams = Vec::new();
    for _ in 0..CALLS {
        streams.push(peer.next(HEADERS).await.stream);
    }
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    for _ in 0..CALLS {
        peer.next(RST_STREAM).await;
    }
    for stream in streams {
        peer.head(stream).await;
    }
    let call = unary(&upstream);
    let stream = peer.next(HEADERS).await.stream;
    peer.answer(stream).await;
    answer(call.await.unwrap());
}

/// A call whose answer ends in some way beside another one on the same connection, which must go well.
async fn beside_another(end: impl FnOnce(&mut Received)) -> Result<accord_upstream::Answer, Failure> {
    let mut server = Server::start().await;
    let upstream = upstream(&server.url, |config| {
        one_connection(config);
        config.max_header_bytes = MOST;
    });
    let other = unary(&upstream);
    let mut others = server.next().await;
    let call = unary(&upstream);
    end(&mut server.next().await);
    let outcome = call.await.unwrap();
    others.answer(&[0; 5]);
    answer(other.await.unwrap());
    assert_eq!(server.connections(), 1);
    outcome.result
}

fn large(code: &'static str) -> HeaderMap {
    let mut metadata = trailers(code, &[("grpc-message", "short")]);
    metadata.insert("x-large", HeaderValue::try_from("x".repeat(MOST as usize * 4)).unwrap());
    metadata
}

#[tokio::test]
async fn trailers_beyond_their_bound_keep_the_code_and_lose_the_rest() {
    let answer = beside_another(|call| call.head().send_trailers(large("9")).unwrap()).await.unwrap();
    let status = answer.result.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("`max_header_bytes`") && answer.trailers.is_empty(), "{status:?}");
}

#[tokio::test]
async fn trailers_of_an_ok_beyond_their_bound_are_response_too_large() {
    let answer = beside_another(|call| {
        let mut body = call.head();
        body.send_data(grpc::frame(b"done"), false).unwrap();
        body.send_trailers(large("0")).unwrap();
    });
    let status = answer.await.unwrap().result.unwrap_err();
    assert_eq!((status.code(), fault::reason_of(&status)), (Code::ResourceExhausted, Some(Reason::ResponseTooLarge)));
}

#[tokio::test]
async fn initial_metadata_beyond_its_bound_is_response_too_large_and_resets_the_stream() {
    let mut metadata = large("0");
    metadata.remove("grpc-status");
    let answer = beside_another(|call| drop(call.head_with(metadata))).await.unwrap();
    let status = answer.result.unwrap_err();
    assert_eq!((status.code(), fault::reason_of(&status)), (Code::ResourceExhausted, Some(Reason::ResponseTooLarge)));
}

#[tokio::test]
async fn metadata_far_beyond_its_bound_fails_its_call_alone() {
    // More than is decoded at all: the HTTP/2 library cuts it off, maybe before its status.
    let mut trailers = HeaderMap::new();
    for _ in 0..20 {
        trailers.append("x-large", HeaderValue::try_from("x".repeat(MOST as usize)).unwrap());
    }
    let answer = beside_another(|call| call.head().send_trailers(trailers).unwrap()).await.unwrap();
    assert_eq!(answer.result.unwrap_err().code(), Code::ResourceExhausted);
}
