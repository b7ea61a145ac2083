use accord_contract::{Contract, Source};
use accord_transcode::{Limits, Schema};
use accord_wire::put_bytes;
use http_body_util::BodyExt;
use prost::Message;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use prost_types::{MethodDescriptorProto, ServiceDescriptorProto, field_descriptor_proto::Type};

use super::super::Json;
use super::*;
use crate::{protocol::tests::memory, table::Variables};

/// A stream of a message with a text and bytes, and how it is written in JSON. Named like it, it is `google.api.HttpBody`.
pub(in crate::protocol::json) fn stream_of(message: &str) -> (Arc<Method>, Codec) {
    let field = |name: &str, number, kind: Type| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        r#type: Some(kind.into()),
        ..Default::default()
    };
    let method = MethodDescriptorProto {
        name: Some("Read".to_owned()),
        input_type: Some(format!(".google.api.{message}")),
        output_type: Some(format!(".google.api.{message}")),
        server_streaming: Some(true),
        ..Default::default()
    };
    let file = FileDescriptorProto {
        name: Some("files.proto".to_owned()),
        package: Some("google.api".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![DescriptorProto {
            name: Some(message.to_owned()),
            field: vec![field("content_type", 1, Type::String), field("data", 2, Type::Bytes)],
            ..Default::default()
        }],
        service: vec![ServiceDescriptorProto {
            name: Some("Files".to_owned()),
            method: vec![method],
            ..Default::default()
        }],
        ..Default::default()
    };
    let source = Source::descriptor_set("files", "test", &FileDescriptorSet { file: vec![file] }.encode_to_vec());
    let source = source.unwrap();
    let schema = Arc::new(Schema::compile(&source.pool));
    let method = Arc::clone(Contract::load(&[source], &[]).0.method("google.api.Files/Read").unwrap());
    let plan = Arc::new(Plan::compile(&schema, &method.descriptor, None, Limits::default()).unwrap());
    let json = Json::new(&HeaderMap::new());
    (method, json.codec(plan, Variables::default()))
}

fn message(content_type: &str, data: &[u8]) -> Bytes {
    let mut message = Vec::new();
    put_bytes(&mut message, 1, content_type.as_bytes());
    put_bytes(&mut message, 2, data);
    grpc::frame(&message)
}

fn status(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static(code))])
}

/// What a caller gets for these messages and this status.
async fn answered(of: &str, messages: Vec<Bytes>, code: &'static str) -> (HeaderMap, Result<Bytes, String>) {
    let frames = messages.into_iter().map(Frame::data).chain([Frame::trailers(status(code))]);
    let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
    received(of, Response::new(Body::new(body))).await
}

async fn received(of: &str, response: Response<Body>) -> (HeaderMap, Result<Bytes, String>) {
    let (method, codec) = stream_of(of);
    let (parts, body) = respond(&codec, &method, response, &memory()).await.unwrap().into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string());
    (parts.headers, body)
}

#[tokio::test]
async fn empty_stream_that_ends_with_ok_is_empty() {
    for of in ["Event", "HttpBody"] {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = status("0");
        assert_eq!(received(of, response).await.1, Ok(Bytes::new()), "{of}");
        assert_eq!(answered(of, Vec::new(), "0").await.1, Ok(Bytes::new()), "{of}");
    }
}

#[tokio::test]
async fn stream_of_http_bodies_is_their_bytes_with_the_first_content_type() {
    let (head, body) = answered("HttpBody", vec![message("image/png", b"AAA"), message("", b"BBB")], "0").await;
    assert_eq!(head[header::CONTENT_TYPE], "image/png");
    assert_eq!(body.unwrap(), "AAABBB");
}

#[tokio::test]
async fn stream_of_http_bodies_that_fails_at_once_is_an_error_answer() {
    let (head, body) = answered("HttpBody", Vec::new(), "5").await;
    assert_eq!(head[header::CONTENT_TYPE], "application/json");
    assert!(body.unwrap().starts_with(b"{\"code\":5"));
}

#[tokio::test]
async fn stream_of_http_bodies_that_fails_later_is_cut_off() {
    assert!(answered("HttpBody", vec![message("image/png", b"AAA")], "5").await.1.is_err());
}

#[tokio::test]
async fn failure_of_a_stream_stands_under_a_name_that_no_message_has() {
    let (_, body) = answered("Event", vec![message("a", b"")], "5").await;
    let text = String::from_utf8(body.unwrap().to_vec()).unwrap();
    let [event, failure] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert_eq!(event, r#"{"contentType":"a"}"#);
    assert!(failure.starts_with(r#"{"@error":{"code":5"#), "{failure}");
}
