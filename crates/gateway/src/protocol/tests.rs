//! The same call through every protocol: a column each, so that a new protocol adds one.

mod columns;

use self::columns::{COLUMNS, Column, Outcome, Received, message, post};
use super::*;
use crate::{
    memory::MemoryBudget,
    table::{Tables, tests::Sample},
};
use accord_api::accord::fault::v1::Reason;
use accord_runtime::{
    fair_share::{FairShare, Holder},
    fault::reason_of,
};
use accord_upstream::grpc as frames;
use http::{HeaderValue, request::Builder};
use http_body_util::{BodyExt, Full};
use std::time::Duration;
use tokio::sync::OnceCell;
use tonic::{Code, Status};

pub(super) const GET: &str = "/catalog.v1.ProductService/GetProduct";
const WATCH: &str = "/catalog.v1.ProductService/WatchProducts";

/// The head of a request, with headers of the caller's, and the protocol that it speaks.
async fn head(call: Builder, headers: &[(&str, &str)]) -> (WireProtocol, Parts) {
    let call = headers.iter().fold(call, |call, (name, value)| call.header(*name, *value));
    let request = call.body(()).unwrap();
    (WireProtocol::detect(&request, tables().await), request.into_parts().0)
}

async fn options(call: Builder, headers: &[(&str, &str)]) -> RequestOptions {
    let (protocol, mut parts) = head(call, headers).await;
    protocol.admit(&mut parts).expect("admitted")
}

async fn tables() -> &'static Tables {
    static TABLES: OnceCell<Arc<Tables>> = OnceCell::const_new();
    TABLES.get_or_init(|| async { Sample::new(true).open().await }).await
}

pub(super) async fn table() -> Arc<MethodTable> {
    tables().await.load()
}

/// Memory enough for one call.
pub(super) fn memory() -> CallMemory {
    CallMemory::new(&MemoryBudget::new(1 << 20, FairShare::DEFAULT), Holder::principal("ada", 1))
}

/// What is read of a request's body.
async fn read(column: &Column, headers: &[(&str, &str)], body: Bytes) -> Result<Bytes, Fault> {
    let (protocol, parts) = head((column.aside)((column.call)(GET), body.clone()), headers).await;
    let route = protocol.find(&*table().await, &parts)?;
    route.read(&parts, Full::new(body), &mut memory().request()).await
}

async fn outcome(column: &Column, response: Response<Body>) -> Outcome {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    (column.outcome)(&Received { head: parts.headers, trailers, body: body.to_bytes() })
}

fn reason(fault: &Fault) -> Option<Reason> {
    reason_of(fault.status())
}

#[tokio::test]
async fn same_method_and_policy_are_found() {
    let table = table().await;
    for Column { name, call, .. } in COLUMNS {
        let (protocol, parts) = head(call(GET), &[]).await;
        let route = protocol.find(&table, &parts).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        assert!(Arc::ptr_eq(&route.entry, table.grpc(GET).unwrap()), "{name}");
        assert_eq!(route.mode, BodyMode::Unary, "{name}: a cached method is read");
    }
}

#[tokio::test]
async fn server_stream_is_passed_on_frame_by_frame_where_the_protocol_has_frames() {
    let table = table().await;
    for Column { name, call, streams, .. } in COLUMNS {
        let (protocol, parts) = head(call(WATCH), &[]).await;
        assert_eq!(protocol.find(&table, &parts).ok().map(|route| route.mode), Some(streams), "{name}");
        assert_eq!(protocol.is_answered_by_grpc_servers(), name == "gRPC", "{name}");
    }
}

#[tokio::test]
async fn unknown_method_is_refused_with_the_same_reason() {
    let table = table().await;
    for Column { name, call, .. } in COLUMNS {
        let (protocol, parts) = head(call("/catalog.v1.ProductService/Get"), &[]).await;
        let fault = protocol.find(&table, &parts).err().expect("a fault");
        assert_eq!(reason(&fault), Some(Reason::MethodUnknown), "{name}");
    }
}

#[tokio::test]
async fn timeout_is_the_same_however_it_is_written() {
    for Column { name, call, timeout, timeout_value, .. } in COLUMNS {
        let asked = options(call(GET), &[(timeout, timeout_value)]).await.timeout;
        assert_eq!(asked, Ok(Some(Duration::from_millis(300))), "{name}");
        assert_eq!(options(call(GET), &[]).await.timeout, Ok(None), "{name}");
    }
}

#[tokio::test]
async fn malformed_or_repeated_timeout_is_refused_with_the_same_reason() {
    for Column { name, call, timeout, timeout_value, .. } in COLUMNS {
        for headers in [&[(timeout, "soon")][..], &[(timeout, timeout_value), (timeout, timeout_value)]] {
            let malformed = options(call(GET), headers).await.timeout.unwrap_err();
            assert_eq!(reason(&malformed.into()), Some(Reason::TimeoutMalformed), "{name}");
            assert!(malformed.message.contains(timeout), "{name}: {}", malformed.message);
        }
    }
}

#[tokio::test]
async fn timeout_of_another_protocol_is_not_asked_for() {
    let headers = ["grpc-timeout", "connect-timeout-ms", "request-timeout"].map(|name| {
        let of = |column: &&Column| column.timeout == name;
        (name, COLUMNS.iter().find(of).expect("a column").timeout_value)
    });
    for Column { name, call, timeout, .. } in COLUMNS {
        // Clients of other gateways send gRPC's with JSON as well.
        let is_own = |other| other == timeout || (timeout == "request-timeout" && other == "grpc-timeout");
        let others: Vec<_> = headers.into_iter().filter(|(other, _)| !is_own(*other)).collect();
        assert_eq!(options(call(GET), &others).await.timeout, Ok(None), "{name}");
    }
}

#[tokio::test]
async fn idempotency_key_is_the_same_in_every_protocol() {
    for Column { name, call, .. } in COLUMNS {
        let key = options(call(GET), &[("idempotency-key", "order-17")]).await.idempotency_key;
        assert_eq!(key, Ok(Some("order-17".to_owned())), "{name}");
    }
}

#[tokio::test]
async fn malformed_or_repeated_idempotency_key_is_refused_with_the_same_reason() {
    let long = "k".repeat(256);
    for Column { name, call, .. } in COLUMNS {
        for keys in [&["two words"][..], &[""], &[&long], &["a", "b"]] {
            let headers: Vec<_> = keys.iter().map(|key| ("idempotency-key", *key)).collect();
            let malformed = options(call(GET), &headers).await.idempotency_key.unwrap_err();
            assert_eq!(reason(&malformed.into()), Some(Reason::HeaderRefused), "{name}: {keys:?}");
        }
    }
}

#[tokio::test]
async fn cache_control_is_asked_for_alike() {
    for Column { name, call, .. } in COLUMNS {
        let asked = options(call(GET), &[("cache-control", "no-cache, only-if-cached")]).await.cache_control;
        let expected =
            CacheControl { consistency: Some(Consistency::Strong), only_if_cached: true, ..CacheControl::default() };
        assert_eq!(asked, expected, "{name}");
    }
}

#[tokio::test]
async fn caller_that_retries_itself_is_recognised_where_the_protocol_can_say_so() {
    for Column { name, call, says_retries, .. } in COLUMNS {
        let asked = options(call(GET), &[("grpc-previous-rpc-attempts", "1")]).await;
        assert_eq!(asked.is_retried_by_caller, says_retries, "{name}");
    }
}

#[tokio::test]
async fn same_message_is_read() {
    for column in COLUMNS {
        let read = read(&column, &[], (column.body)("desk")).await;
        assert_eq!(read.ok(), Some(message("desk").into()), "{}", column.name);
    }
}

#[tokio::test]
async fn body_that_is_not_its_message_is_refused_with_the_same_reason() {
    for column in COLUMNS {
        let Some(malformed) = column.malformed else { continue };
        let fault = read(&column, &[], Bytes::from_static(malformed.as_bytes())).await.unwrap_err();
        assert_eq!(reason(&fault), Some(Reason::RequestMalformed), "{}", column.name);
    }
}

#[tokio::test]
async fn body_over_the_bound_of_its_method_is_refused_with_the_same_reason() {
    for column in COLUMNS {
        let body = (column.body)(&"x".repeat(8 << 20));
        let fault = read(&column, &[], body).await.unwrap_err();
        assert_eq!(reason(&fault), Some(Reason::RequestTooLarge), "{}", column.name);
    }
}

#[tokio::test]
async fn unknown_compression_is_refused_with_the_same_reason() {
    for column in COLUMNS {
        let Some((encoding, body)) = column.compressed.map(|compressed| compressed("desk")) else { continue };
        let fault = read(&column, &[(encoding, "br")], body).await.unwrap_err();
        assert_eq!(reason(&fault), Some(Reason::ProtocolUnsupported), "{}", column.name);
    }
}

#[tokio::test]
async fn fault_carries_the_same_code_and_reason() {
    let fault = Fault::new(crate::fault::Component::Auth, Reason::PermissionMissing, "no");
    for column in COLUMNS {
        let (protocol, _) = head((column.call)(GET), &[]).await;
        let response = protocol.fault(&fault);
        assert_eq!(response.headers()["x-accord-fault"], "auth", "{}", column.name);
        let expected = (Code::PermissionDenied as i32, "PERMISSION_MISSING".to_owned());
        assert_eq!(outcome(&column, response).await, expected, "{}", column.name);
    }
}

#[tokio::test]
async fn error_of_a_handler_carries_the_same_code_and_metadata() {
    let table = table().await;
    for column in COLUMNS {
        let (protocol, parts) = head((column.call)(GET), &[]).await;
        let route = protocol.find(&table, &parts).unwrap_or_else(|fault| panic!("{}: {fault:?}", column.name));
        let mut answer = Answer::new(Err(Status::not_found("no desk")));
        answer.head.insert("x-shelf", "7".parse().unwrap());
        let response = route.respond(Reply::Unary(answer, None), &memory()).await.unwrap();
        let told = response.headers().get("x-shelf").map(HeaderValue::as_bytes);
        assert_eq!(told, column.says_metadata.then_some(&b"7"[..]), "{}", column.name);
        assert_eq!(outcome(&column, response).await, (Code::NotFound as i32, String::new()), "{}", column.name);
    }
}

#[tokio::test]
async fn protocol_that_is_not_served_is_refused_in_one_that_the_caller_reads() {
    let refused = [
        (post(GET).header("content-type", "application/grpc"), "gRPC on HTTP/1.1"),
        (post(GET).header("content-type", "application/grpc-web+thrift"), "another encoding of gRPC-Web"),
        (post(GET).header("content-type", "application/connect+cbor"), "another encoding of Connect"),
        (
            post(GET).header("content-type", "text/plain").header("connect-protocol-version", "1"),
            "one of unary Connect",
        ),
        (post(GET).version(Version::HTTP_2).header("content-type", "application/grpc+thrift"), "another encoding"),
        (
            post(GET).method(http::Method::PUT).version(Version::HTTP_2).header("content-type", "application/grpc"),
            "a PUT",
        ),
    ];
    for (call, name) in refused {
        let (protocol, mut parts) = head(call, &[]).await;
        let fault = protocol.admit(&mut parts).err().expect("a fault");
        assert_eq!(reason(&fault), Some(Reason::ProtocolUnsupported), "{name}");
    }
}

#[tokio::test]
async fn content_type_of_grpc_is_recognised_in_any_case() {
    for content_type in ["Application/GRPC", "application/gRPC+Proto;x=y"] {
        let call = post(GET).version(Version::HTTP_2).header("content-type", content_type);
        let (protocol, mut parts) = head(call, &[]).await;
        assert!(protocol.is_answered_by_grpc_servers(), "{content_type}");
        assert!(protocol.admit(&mut parts).is_ok(), "{content_type}");
    }
}

#[tokio::test]
async fn path_of_a_method_answers_to_post_alone() {
    let table = table().await;
    for method in [http::Method::GET, http::Method::PUT, http::Method::OPTIONS] {
        let (protocol, parts) = head(post(GET).method(&method), &[]).await;
        let fault = protocol.find(&table, &parts).err().expect("a fault");
        let response = protocol.fault(&fault);
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &"POST".parse().unwrap()),
            "{method}"
        );
    }
}

#[tokio::test]
async fn message_marked_as_compressed_by_nobody_says_how_is_refused_so() {
    let [grpc, ..] = COLUMNS;
    let (_, marked) = grpc.compressed.expect("it can be")("desk");
    let fault = read(&grpc, &[], marked).await.unwrap_err();
    assert!(fault.status().message().contains("no `grpc-encoding` says how"), "{fault:?}");
}

#[tokio::test]
async fn compression_that_is_not_accepted_is_refused_with_those_that_are_whether_messages_are_read_or_not() {
    let [grpc, ..] = COLUMNS;
    for path in [GET, WATCH] {
        let (protocol, mut parts) = head((grpc.call)(path), &[("grpc-encoding", "br")]).await;
        let fault = protocol.admit(&mut parts).err().expect("a fault");
        assert_eq!(reason(&fault), Some(Reason::ProtocolUnsupported));
        assert_eq!(protocol.fault(&fault).headers()["grpc-accept-encoding"], "identity,gzip,deflate");
        for accepted in ["identity", "gzip", "deflate"] {
            let (protocol, mut parts) = head((grpc.call)(path), &[("grpc-encoding", accepted)]).await;
            assert!(protocol.admit(&mut parts).is_ok(), "{accepted}");
        }
    }
}

#[tokio::test]
async fn deflated_message_is_read() {
    use std::io::Write;
    let [grpc, ..] = COLUMNS;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&message("desk")).unwrap();
    let framed = [&[1], &frames::frame(&encoder.finish().unwrap())[1..]].concat();
    let read = read(&grpc, &[("grpc-encoding", "deflate")], framed.into()).await;
    assert_eq!(read.ok(), Some(message("desk").into()));
}

#[tokio::test]
async fn answer_of_a_message_says_the_same_to_whoever_counts() {
    let table = table().await;
    for column in COLUMNS {
        let (protocol, parts) = head((column.call)(GET), &[]).await;
        let route = protocol.find(&table, &parts).unwrap_or_else(|fault| panic!("{}: {fault:?}", column.name));
        let response = route.respond(Reply::Unary(Answer::new(Ok(Bytes::new())), None), &memory()).await.unwrap();
        let in_head = response.extensions().get::<Code>().copied();
        let is_said = in_head == Some(Code::Ok)
            || !response.headers()["content-type"].as_bytes().starts_with(b"application/grpc-web");
        assert!(is_said, "{}: {in_head:?}", column.name);
    }
}
