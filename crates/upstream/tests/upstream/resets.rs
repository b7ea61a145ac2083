//! Streams that the peer resets.

use std::convert::Infallible;

use accord_upstream::TransportError;
use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
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
async fn refused_stream_whose_data_came_after_its_headers_is_sent_again() {
    let mut server = Server::start().await;
    let (pipe, body) = bodies::pipe();
    let call = stream(&upstream(&server.url, one_connection), body);
    let mut refused = server.next().await;
    pipe.send(Ok(data(b"later"))).await.unwrap();
    drop(pipe);
    assert_eq!(refused.body().await.unwrap(), "later");
    refused.respond.send_reset(Reason::REFUSED_STREAM);
    let mut again = server.next().await;
    assert_eq!(again.body().await.unwrap(), "later");
    again.head().send_data("".into(), true).unwrap();
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn refused_stream_whose_body_goes_on_is_sent_again_from_its_beginning() {
    let mut server = Server::start().await;
    let (pipe, body) = bodies::pipe();
    pipe.send(Ok(data(b"begun"))).await.unwrap();
    let call = stream(&upstream(&server.url, one_connection), body);
    server.next().await.respond.send_reset(Reason::REFUSED_STREAM);
    let mut again = server.next().await;
    pipe.send(Ok(data(b" and ended"))).await.unwrap();
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-sum"), HeaderValue::from_static("7"))]);
    pipe.send(Ok(Frame::trailers(trailers.clone()))).await.unwrap();
    assert_eq!(again.body().await.unwrap(), "begun and ended");
    assert_eq!(again.request.body_mut().trailers().await.unwrap(), Some(trailers));
    again.head().send_data("".into(), true).unwrap();
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn refused_stream_whose_trailers_were_sent_is_sent_again_with_them() {
    let mut server = Server::start().await;
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-sum"), HeaderValue::from_static("7"))]);
    let body = Frames::new([data(b"so"), data(b"me"), Frame::trailers(trailers.clone())]);
    let call = stream(&upstream(&server.url, one_connection), body);
    let mut refused = server.next().await;
    refused.body().await.unwrap();
    refused.request.body_mut().trailers().await.unwrap();
    refused.respond.send_reset(Reason::REFUSED_STREAM);
    let mut again = server.next().await;
    assert_eq!(again.body().await.unwrap(), "some");
    assert_eq!(again.request.body_mut().trailers().await.unwrap(), Some(trailers));
    again.head().send_data("".into(), true).unwrap();
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn refused_stream_of_more_bytes_than_are_kept_is_not_sent_again() {
    let mut server = Server::start().await;
    let chunk = || Bytes::from(vec![7; 9 << 10]);
    let call = stream(&upstream(&server.url, one_connection), Frames::of([chunk(), chunk(), chunk()]));
    let mut refused = server.next().await;
    assert_eq!(refused.body().await.unwrap().len(), 27 << 10);
    refused.respond.send_reset(Reason::REFUSED_STREAM);
    assert_eq!(transport_error(&call.await.unwrap().unwrap_err()), TransportError::Refused);
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
