//! Streams that the peer resets.

use std::convert::Infallible;

use accord_upstream::TransportError;
use bytes::Bytes;
use h2::Reason;
use http_body_util::{BodyExt, Full};
use tonic::Code;

use crate::bodies::{self, Frames, data};
use crate::server::Server;
use crate::{answer, nothing, one_connection, stream, transport_error, unary, upstream};

#[tokio::test]
async fn reset_has_the_code_of_the_grpc_table() {
    let mut server = Server::start().await;
    let upstream = upstream(&server.url, one_connection);
    for (reason, code) in [
        (Reason::NO_ERROR, Code::Internal),
        (Reason::PROTOCOL_ERROR, Code::Internal),
        (Reason::INTERNAL_ERROR, Code::Internal),
        (Reason::FLOW_CONTROL_ERROR, Code::Internal),
        (Reason::COMPRESSION_ERROR, Code::Internal),
        (Reason::CANCEL, Code::Cancelled),
        (Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
        (Reason::INADEQUATE_SECURITY, Code::PermissionDenied),
    ] {
        let call = unary(&upstream);
        server.next().await.respond.send_reset(reason);
        let failure = call.await.unwrap().result.unwrap_err();
        assert_eq!(transport_error(&failure), TransportError::Reset(reason));
        assert_eq!(failure.code(), code, "{reason:?}");
    }
    assert!(server.is_quiet(), "none was sent again");
}

#[tokio::test]
async fn refused_stream_is_sent_again() {
    let mut server = Server::start().await;
    let call = unary(&upstream(&server.url, one_connection));
    server.next().await.respond.send_reset(Reason::REFUSED_STREAM);
    let mut again = server.next().await;
    assert_eq!(again.body().await.unwrap(), "\0\0\0\0\x05hello");
    again.answer(&[0; 5]);
    answer(call.await.unwrap());
}

#[tokio::test]
async fn stream_refused_twice_is_unavailable() {
    let mut server = Server::start().await;
    let call = unary(&upstream(&server.url, one_connection));
    for _ in 0..2 {
        server.next().await.respond.send_reset(Reason::REFUSED_STREAM);
    }
    let failure = call.await.unwrap().result.unwrap_err();
    assert_eq!((transport_error(&failure), failure.code()), (TransportError::Refused, Code::Unavailable));
    assert!(server.is_quiet());
}

#[tokio::test]
async fn refused_stream_whose_whole_body_was_there_is_sent_again() {
    let mut server = Server::start().await;
    let upstream = upstream(&server.url, one_connection);
    // One says with its last frame that it is over, the other when it is asked again.
    let said = stream(&upstream, Full::new(Bytes::from_static(b"whole")));
    let asked = stream(
        &upstream,
        http_body_util::StreamBody::new(futures_util::stream::iter([Ok::<_, Infallible>(data(b"whole"))])),
    );
    for _ in 0..2 {
        server.next().await.respond.send_reset(Reason::REFUSED_STREAM);
    }
    for _ in 0..2 {
        let mut again = server.next().await;
        assert_eq!(again.body().await.unwrap(), "whole");
        again.head().send_data("".into(), true).unwrap();
    }
    for call in [said, asked] {
        call.await.unwrap().unwrap().into_body().collect().await.unwrap();
    }
}

#[tokio::test]
async fn refused_stream_whose_body_was_begun_is_not_sent_again() {
    let mut server = Server::start().await;
    let upstream = upstream(&server.url, one_connection);
    let (pipe, body) = bodies::pipe();
    pipe.send(Ok(data(b"begun"))).await.unwrap();
    let begun = stream(&upstream, body);
    server.next().await.respond.send_reset(Reason::REFUSED_STREAM);
    assert_eq!(transport_error(&begun.await.unwrap().unwrap_err()), TransportError::Refused);

    let several = stream(&upstream, Frames::new([data(b"one"), data(b"two"), data(b"three")]));
    server.next().await.respond.send_reset(Reason::REFUSED_STREAM);
    assert_eq!(transport_error(&several.await.unwrap().unwrap_err()), TransportError::Refused);
    assert!(server.is_quiet());
}

#[tokio::test]
async fn refused_stream_after_the_answers_head_is_broken() {
    let mut server = Server::start().await;
    let call = stream(&upstream(&server.url, one_connection), nothing());
    let mut received = server.next().await;
    let mut body = received.head();
    let response = call.await.unwrap().unwrap();
    body.send_reset(Reason::REFUSED_STREAM);
    assert_eq!(response.into_body().collect().await.unwrap_err(), TransportError::Broken);
    assert!(server.is_quiet());
}
