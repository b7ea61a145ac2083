//! What differs between protocols, a column each.

use super::{
    BodyMode, GET, frames,
    websocket::{Format, Socket},
};
use accord_api::catalog::v1::GetProductRequest;
use accord_runtime::fault::{name, reason_of};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version, request::Builder};
use prost::Message;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::pb::ErrorInfo;

/// The header that says how a request is compressed, and the request.
type Compressed = fn(id: &str) -> (&'static str, Bytes);

/// What differs between protocols.
pub(super) struct Column {
    pub name: &'static str,
    /// A call of the method at a path, without headers of its own.
    pub call: fn(path: &str) -> Builder,
    pub timeout: &'static str,
    /// 300 ms.
    pub timeout_value: &'static str,
    /// A request of this product.
    pub body: fn(id: &str) -> Bytes,
    /// What is no request; none where any bytes may be one.
    pub malformed: Option<&'static str>,
    /// A request, said to be compressed in a way that nobody knows; none where nothing is compressed.
    pub compressed: Option<Compressed>,
    /// How a body comes that does not come in the request.
    pub aside: fn(Builder, Bytes) -> Builder,
    /// Whether metadata of an answer is told.
    pub says_metadata: bool,
    /// Whether it has a way to say that the caller retries.
    pub says_retries: bool,
    /// How a stream of messages is carried.
    pub streams: BodyMode,
    pub outcome: fn(&Received) -> Outcome,
}

/// The code of an answer and the stable reason in it.
pub(super) type Outcome = (i32, String);

/// An answer as it came.
pub(super) struct Received {
    pub head: HeaderMap,
    pub trailers: HeaderMap,
    pub body: Bytes,
}

pub(super) const COLUMNS: [Column; 8] = [
    Column {
        name: "gRPC",
        call: |path| post(path).version(Version::HTTP_2).header("content-type", "application/grpc"),
        timeout: "grpc-timeout",
        timeout_value: "300m",
        body: |id| frames::frame(&message(id)),
        malformed: Some("{"),
        compressed: Some(|id| ("grpc-encoding", compressed(id))),
        aside: |call, _| call,
        says_metadata: true,
        says_retries: true,
        streams: BodyMode::PassThrough,
        outcome: |Received { head, trailers, .. }| {
            of_status(&Status::from_header_map(head).or_else(|| Status::from_header_map(trailers)).expect("a status"))
        },
    },
    Column {
        name: "gRPC-Web",
        call: |path| post(path).header("content-type", "application/grpc-web"),
        timeout: "grpc-timeout",
        timeout_value: "300m",
        body: |id| frames::frame(&message(id)),
        malformed: Some("{"),
        compressed: Some(|id| ("grpc-encoding", compressed(id))),
        aside: |call, _| call,
        says_metadata: true,
        says_retries: true,
        streams: BodyMode::PassThrough,
        outcome: |received| of_web(&received.head, &received.body),
    },
    Column {
        name: "gRPC-Web in text",
        call: |path| post(path).header("content-type", "Application/gRPC-Web-Text+proto; x=y"),
        timeout: "grpc-timeout",
        timeout_value: "300m",
        body: |id| STANDARD.encode(frames::frame(&message(id))).into(),
        malformed: Some("{"),
        compressed: Some(|id| ("grpc-encoding", STANDARD.encode(compressed(id)).into())),
        aside: |call, _| call,
        says_metadata: true,
        says_retries: true,
        streams: BodyMode::PassThrough,
        outcome: |received| of_web(&received.head, &STANDARD.decode(&received.body).expect("one piece of base64")),
    },
    Column {
        name: "Connect in protobuf",
        call: |path| post(path).header("content-type", connect(path, "proto")),
        timeout: "connect-timeout-ms",
        timeout_value: "300",
        body: |id| message(id).into(),
        malformed: None,
        compressed: Some(|id| ("content-encoding", id.to_owned().into())),
        aside: |call, _| call,
        says_metadata: true,
        says_retries: true,
        streams: BodyMode::PassThrough,
        outcome: |received| of_connect(&received.body),
    },
    Column {
        name: "Connect in JSON",
        call: |path| post(path).header("content-type", connect(path, "json")).header("connect-protocol-version", "1"),
        timeout: "connect-timeout-ms",
        timeout_value: "300",
        body: |id| json!({ "id": id }).to_string().into(),
        malformed: Some("{"),
        compressed: Some(|id| ("content-encoding", id.to_owned().into())),
        aside: |call, _| call,
        says_metadata: true,
        says_retries: true,
        streams: BodyMode::PassThrough,
        outcome: |received| of_connect(&received.body),
    },
    // Were it said to be JSON, it would be Connect.
    Column {
        name: "JSON",
        call: post,
        timeout: "request-timeout",
        timeout_value: "0.3",
        body: |id| json!({ "id": id }).to_string().into(),
        malformed: Some("{"),
        compressed: Some(|id| ("content-encoding", id.to_owned().into())),
        aside: |call, _| call,
        says_metadata: true,
        says_retries: false,
        streams: BodyMode::ServerStream,
        outcome: |Received { body, .. }| {
            let body: Value = serde_json::from_slice(body).expect("JSON");
            let reason = body["details"][0]["reason"].as_str().unwrap_or_default().to_owned();
            (body["code"].as_i64().unwrap_or_default().try_into().expect("a code"), reason)
        },
    },
    Column {
        name: "WebSocket in JSON",
        call: |path| websocket(path, Format::Json),
        timeout: "request-timeout",
        timeout_value: "0.3",
        body: |id| json!({ "id": id }).to_string().into(),
        malformed: Some("{"),
        compressed: None,
        aside: |call, body| call.extension(Socket::holding(Format::Json, true, body)),
        says_metadata: false,
        says_retries: false,
        streams: BodyMode::ServerStream,
        outcome: |received| of_websocket(&received.body),
    },
    Column {
        name: "WebSocket in protobuf",
        call: |path| websocket(path, Format::Proto),
        timeout: "request-timeout",
        timeout_value: "0.3",
        body: |id| message(id).into(),
        malformed: None,
        compressed: None,
        aside: |call, body| call.extension(Socket::holding(Format::Proto, false, body)),
        says_metadata: false,
        says_retries: false,
        streams: BodyMode::ServerStream,
        outcome: |received| of_websocket(&received.body),
    },
];

pub(super) fn post(path: &str) -> Builder {
    Request::builder().method(http::Method::POST).uri(path)
}

pub(super) fn message(id: &str) -> Vec<u8> {
    GetProductRequest { id: id.to_owned() }.encode_to_vec()
}

/// A message in a frame that says that it is compressed.
fn compressed(id: &str) -> Bytes {
    [&[1], &frames::frame(&message(id))[1..]].concat().into()
}

fn of_status(status: &Status) -> Outcome {
    (status.code() as i32, reason_of(status).map(name).unwrap_or_default())
}

/// Of the head, or of the frame of trailers that is all of the body.
fn of_web(head: &HeaderMap, body: &[u8]) -> Outcome {
    if let Some(status) = Status::from_header_map(head) {
        assert!(body.is_empty(), "a status comes once");
        return of_status(&status);
    }
    assert_eq!(body[0], 0x80, "trailers");
    let lines = std::str::from_utf8(&body[5..]).expect("text").lines().filter_map(|line| line.split_once(": "));
    let trailers = lines.map(|(name, value)| {
        (HeaderName::try_from(name).expect("a name"), HeaderValue::from_str(value).expect("a value"))
    });
    of_status(&Status::from_header_map(&trailers.collect()).expect("a status"))
}

/// Of the body of a unary call.
fn of_connect(body: &[u8]) -> Outcome {
    let body: Value = serde_json::from_slice(body).expect("JSON");
    let code = match body["code"].as_str() {
        Some("not_found") => Code::NotFound,
        Some("permission_denied") => Code::PermissionDenied,
        other => panic!("{other:?}"),
    };
    let info = body["details"][0]["value"].as_str().map(|value| {
        assert_eq!(body["details"][0]["type"], "google.rpc.ErrorInfo");
        ErrorInfo::decode(&*STANDARD_NO_PAD.decode(value).expect("base64")).expect("an ErrorInfo")
    });
    (code as i32, info.map(|info| info.reason).unwrap_or_default())
}

/// What is left of a handshake once it was accepted.
fn websocket(path: &str, format: Format) -> Builder {
    let opened = Request::builder().uri(path).header("upgrade", "websocket");
    opened.extension(Socket::holding(format, true, Bytes::new()))
}

/// Of the last text, which the close says again.
fn of_websocket(frames: &[u8]) -> Outcome {
    assert_eq!(frames[0], 0x81, "a text");
    let (length, begin) = match frames[1] {
        126 => (usize::from(u16::from_be_bytes([frames[2], frames[3]])), 4),
        length => (usize::from(length), 2),
    };
    let (text, close) = frames[begin..].split_at(length);
    let text: Value = serde_json::from_slice(text).expect("JSON");
    let error = &text["@error"];
    let code = i32::try_from(error["code"].as_i64().expect("a code")).expect("a code");
    assert_eq!((close[0], i32::from(u16::from_be_bytes([close[2], close[3]]))), (0x88, 4000 + code));
    (code, error["details"][0]["reason"].as_str().unwrap_or_default().to_owned())
}

/// The content type of a unary call, or of a stream on every other path.
fn connect(path: &str, format: &str) -> String {
    format!("application/{}{format}", if path == GET { "" } else { "connect+" })
}
