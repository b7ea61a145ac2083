//! gRPC-Web and Connect: the same calls as in gRPC, with all that holds for them.

use crate::{
    scripted_upstream::{ReceivedCall, Reply, ScriptedUpstream},
    wire::{GrpcCall, frame, word},
};
use accord_fabric::{
    EDITOR, Fabric, Part,
    http::HttpCall,
    web::{WebAnswer, WebProtocol},
};
use anyhow::Result;
use flate2::{Compression, write::GzEncoder};
use http::Method;
use serde_json::json;
use std::io::Write;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

const SERVICE: &str = "/echo.v1.EchoService";

fn post(fabric: &Fabric, method: &str) -> HttpCall {
    fabric.call(Method::POST, &format!("{SERVICE}/{method}"))
}

/// A busy machine is no cache that hangs: whether one is noticed in time is another test's.
async fn with_patience() -> Result<(ScriptedUpstream, Fabric)> {
    let patient = toml::toml! {
        [cache]
        connect_timeout = "10s"
        keepalive_interval = "10s"
        keepalive_timeout = "10s"
    };
    let echo = ScriptedUpstream::start().await?;
    let fabric = echo.behind()?.settings(Part::Gateway, patient).start().await?;
    Ok((echo, fabric))
}

async fn ask(fabric: &Fabric, protocol: WebProtocol, method: &str, texts: &[&str]) -> Result<WebAnswer> {
    protocol.send(protocol.call(post(fabric, method), texts)).await
}

fn gzip(message: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(message)?;
    Ok(encoder.finish()?)
}

/// What reached the upstream, without what each hop and each call says anew.
pub(crate) fn comparable(call: &ReceivedCall) -> (Vec<String>, Vec<u8>) {
    let own = ["x-request-id", "traceparent", "grpc-timeout", "x-accord-passport", "user-agent"];
    let headers = call.headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let mut lines: Vec<_> = headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?"))).collect();
    lines.push(format!("passport: {}", call.headers.contains_key("x-accord-passport")));
    lines.sort();
    (lines, call.body.to_vec())
}

#[tokio::test]
async fn same_call_reaches_the_upstream_and_comes_back_alike_in_every_protocol() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let token = fabric.token(EDITOR).await?;
    let details = ErrorDetails::with_error_info("SOLD_OUT", "shop", [("a".to_owned(), "b".to_owned())]);
    let statuses = [
        Status::new(Code::Ok, ""),
        Status::with_error_details(Code::FailedPrecondition, "none left: käse", details),
        Status::new(Code::DataLoss, ""),
    ];
    for (text, status) in ["", "word", "wörter \u{1f4e6}\n"].into_iter().zip(&statuses) {
        let reply = || {
            let reply = Reply::unfinished().head("x-shelf", "7");
            let reply = if status.code() == Code::Ok { reply.message(&word(text)) } else { reply };
            reply.status(status).trailer("x-left-bin", "AAE=")
        };
        echo.script([reply()]);
        let bearer = format!("Bearer {token}");
        let call = GrpcCall::new(&fabric, "Say", text).header("authorization", &bearer).header("x-market", "eu");
        let grpc = call.send().await?;
        let sent = comparable(&echo.take_received()[0]);
        assert!(sent.0.contains(&"passport: true".to_owned()), "{sent:?}");
        for protocol in WebProtocol::UNARY {
            echo.script([reply()]);
            let call = protocol.call(post(&fabric, "Say"), &[text]).token(&token).header("x-market", "eu");
            let answer = protocol.send(call).await?;
            assert_eq!((answer.code, &*answer.message), (grpc.code(), grpc.status().message()), "{protocol:?}");
            let reason = if answer.details.is_empty() { String::new() } else { answer.reason() };
            assert_eq!(reason, grpc.refusal().1, "{protocol:?}");
            let texts: &[&str] = if status.code() == Code::Ok { &[text] } else { &[] };
            assert_eq!(answer.texts, texts, "{protocol:?}");
            assert_eq!(answer.head["x-shelf"], "7", "{protocol:?}");
            let left = answer.trailers.get("x-left-bin").or_else(|| answer.head.get("x-left-bin"));
            assert_eq!(left.map(http::HeaderValue::as_bytes), Some(&b"AAE="[..]), "{protocol:?}");
            assert_eq!(comparable(&echo.take_received()[0]), sent, "{protocol:?}");
        }
    }
    fabric.stop().await
}

#[tokio::test]
async fn refusal_of_the_gateway_says_the_same_in_every_protocol() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for (protocol, method) in [(WebProtocol::UNARY, "Compute"), (WebProtocol::STREAMS, "Recite")]
        .into_iter()
        .flat_map(|(protocols, method)| protocols.map(|protocol| (protocol, method)))
    {
        let call = protocol.call(post(&fabric, method), &["a"]).token("none");
        let answer = protocol.send(call).await?;
        assert_eq!(
            (answer.code, answer.reason()),
            (Code::Unauthenticated, "CREDENTIAL_INVALID".into()),
            "{protocol:?}"
        );
        assert_eq!(answer.head["x-accord-fault"], "auth", "{protocol:?}");
        let is_unary_connect = matches!(protocol, WebProtocol::ConnectProto | WebProtocol::ConnectJson);
        assert_eq!(answer.http, if is_unary_connect { 401 } else { 200 }, "{protocol:?}");
    }
    assert_eq!(echo.calls_received(), 0);
    fabric.stop().await
}

#[tokio::test]
async fn server_stream_is_passed_on_message_by_message_with_its_status_last() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for status in [Status::new(Code::Ok, ""), Status::not_found("no more")] {
        for protocol in WebProtocol::STREAMS {
            let reply = Reply::unfinished().head("x-shelf", "7").message(&word("a")).message(&word("b"));
            echo.script([reply.status(&status).trailer("x-left", "1").trailer("x-left", "2")]);
            let answer = ask(&fabric, protocol, "Recite", &["a"]).await?;
            assert_eq!(answer.texts, ["a", "b"], "{protocol:?}");
            assert_eq!((answer.code, &*answer.message), (status.code(), status.message()), "{protocol:?}");
            assert_eq!(answer.head["x-shelf"], "7", "{protocol:?}");
            assert_eq!(answer.trailers.get_all("x-left").iter().collect::<Vec<_>>(), ["1", "2"], "{protocol:?}");
            assert_eq!(echo.take_received()[0].body, word("a"), "{protocol:?}");
        }
    }
    fabric.stop().await
}

#[tokio::test]
async fn stream_without_messages_that_fails_at_once_is_a_status_alone() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for protocol in WebProtocol::STREAMS {
        echo.script([Reply::error(Code::Aborted).head("x-shelf", "7")]);
        let answer = ask(&fabric, protocol, "Recite", &["a"]).await?;
        assert_eq!((answer.code, &*answer.message), (Code::Aborted, "as written"), "{protocol:?}");
        assert_eq!((answer.texts.len(), &answer.head["x-shelf"]), (0, &"7".parse()?), "{protocol:?}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn messages_of_a_client_are_passed_on_one_by_one() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for protocol in WebProtocol::STREAMS {
        let answer = ask(&fabric, protocol, "Converse", &["a", "", "wörter"]).await?;
        assert_eq!(
            (answer.code, answer.texts),
            (Code::Ok, ["a", "", "wörter"].map(String::from).into()),
            "{protocol:?}"
        );
        let sent = [word("a"), word(""), word("wörter")].concat();
        assert_eq!(echo.take_received()[0].body, sent, "{protocol:?}");
        let answer = ask(&fabric, protocol, "Converse", &["a", "b", "c", "d"]).await?;
        assert_eq!(
            (answer.code, answer.reason()),
            (Code::ResourceExhausted, "REQUEST_TOO_LARGE".into()),
            "{protocol:?}"
        );
        let answer = ask(&fabric, protocol, "Converse", &[&"long".repeat(300)]).await?;
        assert_eq!(
            (answer.code, answer.reason()),
            (Code::ResourceExhausted, "REQUEST_TOO_LARGE".into()),
            "{protocol:?}"
        );
    }
    fabric.stop().await
}

#[tokio::test]
async fn body_of_a_stream_that_is_not_its_messages_is_refused_where_it_is_read() -> Result<()> {
    let (_echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let bodies = [
        (WebProtocol::GrpcWebText, b"AAAA!".to_vec(), Code::InvalidArgument),
        (WebProtocol::ConnectJsonStream, frame(0, b"{\"text\":1}").to_vec(), Code::InvalidArgument),
        (WebProtocol::ConnectJsonStream, frame(0, b"{\"colour\":1}").to_vec(), Code::InvalidArgument),
        (WebProtocol::ConnectJsonStream, frame(7, b"{}").to_vec(), Code::InvalidArgument),
        (WebProtocol::ConnectJsonStream, frame(0, b"{}")[..6].to_vec(), Code::Cancelled),
    ];
    for (protocol, body, code) in bodies {
        let answer = protocol.send(post(&fabric, "Converse").body(protocol.content_type(), body)).await?;
        assert_eq!(answer.code, code, "{protocol:?}: {answer:?}");
        assert_eq!(answer.head["x-accord-fault"], "gateway");
    }
    fabric.stop().await
}

#[tokio::test]
async fn unary_call_of_connect_may_be_compressed() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for protocol in [WebProtocol::ConnectProto, WebProtocol::ConnectJson] {
        let call = post(&fabric, "Say").header("content-encoding", "gzip").header("connect-protocol-version", "1");
        let answer = protocol.send(call.body(protocol.content_type(), gzip(&protocol.body(&["small"]))?)).await?;
        assert_eq!(answer.texts, ["small"], "{protocol:?}");
        assert_eq!(echo.take_received()[0].body, word("small"), "{protocol:?}");
        let call = post(&fabric, "Say").header("content-encoding", "br").header("connect-protocol-version", "1");
        let answer = protocol.send(call.body(protocol.content_type(), "?")).await?;
        assert_eq!(
            (answer.code, answer.http, &answer.head["accept-encoding"]),
            (Code::Unimplemented, 501, &"gzip, zstd".parse()?)
        );
    }
    fabric.stop().await
}

#[tokio::test]
async fn compressed_messages_of_a_stream_are_passed_on_under_the_names_of_each_protocol() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let compressed = frame(1, &gzip(&word("small")[5..])?);
    for (content_type, encoding) in
        [("application/grpc-web", "grpc-encoding"), ("application/connect+proto", "connect-content-encoding")]
    {
        let call = post(&fabric, "Recite").header(encoding, "gzip").body(content_type, compressed.clone());
        let answer = call.send().await?;
        assert_eq!(answer.header(encoding), Some("gzip"), "{answer:?}");
        assert!(answer.body.starts_with(&compressed), "{answer:?}");
        let received = echo.take_received();
        assert_eq!((&received[0].headers["grpc-encoding"], &received[0].body), (&"gzip".parse()?, &compressed));
        assert!(received[0].headers.keys().all(|name| !name.as_str().starts_with("connect-")), "{received:?}");
    }
    // Written anew, whoever reads them.
    let json = frame(1, &gzip(&WebProtocol::ConnectJson.body(&["small"]))?);
    let call = post(&fabric, "Recite").header("connect-content-encoding", "gzip");
    let answer = WebProtocol::ConnectJsonStream.send(call.body("application/connect+json", json)).await?;
    assert_eq!(answer.texts, ["small"]);
    assert!(!echo.take_received()[0].headers.contains_key("grpc-encoding"));
    fabric.stop().await
}

#[tokio::test]
async fn get_of_connect_reaches_methods_without_side_effects_alone() -> Result<()> {
    let (echo, fabric) = with_patience().await?;
    let get = |method: &str, query: &str| fabric.get(&format!("{SERVICE}/{method}?connect=v1&{query}"));
    for (encoding, message) in
        [("json", "message=%7B%22text%22%3A%22a%20b%22%7D"), ("proto", "base64=1&message=CgNhIGI")]
    {
        let answer = get("Recall", &format!("encoding={encoding}&{message}")).send().await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some(format!("application/{encoding}").as_str()));
        assert!(answer.text().contains("a b"), "{}", answer.text());
    }
    assert_eq!(echo.calls_received(), 1, "the second is a hit");
    let answer = get("Change", "encoding=json&message=%7B%7D").send().await?;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, Some("POST")));
    assert_eq!(answer.json()?["code"], "unimplemented");
    let answer = get("Recall", "encoding=json&message=%7B&connect=v2").send().await?;
    assert_eq!((answer.status.as_u16(), &answer.json()?["code"]), (400, &"invalid_argument".into()));
    let answer = get("Recall", "encoding=cbor&message=a").send().await?;
    assert_eq!(answer.status, 415);
    fabric.stop().await
}

#[tokio::test]
async fn cached_answer_and_its_invalidation_are_the_same_in_every_protocol() -> Result<()> {
    let (echo, fabric) = with_patience().await?;
    for writer in WebProtocol::UNARY {
        for reader in WebProtocol::UNARY {
            let answer = ask(&fabric, reader, "Recall", &["w"]).await?;
            assert_eq!((answer.code, answer.texts), (Code::Ok, vec!["w".to_owned()]), "{reader:?}");
            assert!(answer.head.contains_key("cache-status"), "{reader:?}");
        }
        assert_eq!(echo.take_received().len(), 1, "{writer:?}: read once");
        assert_eq!(ask(&fabric, writer, "Change", &["w"]).await?.code, Code::Ok);
        echo.take_received();
    }
    fabric.stop().await
}

#[tokio::test]
async fn call_under_an_idempotency_key_is_done_once_in_every_protocol() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let token = fabric.token(EDITOR).await?;
    for protocol in WebProtocol::UNARY {
        let call = protocol.call(post(&fabric, "Keep"), &["k"]).token(&token).header("idempotency-key", "one");
        assert_eq!(protocol.send(call).await?.texts, ["k"], "{protocol:?}");
    }
    assert_eq!(echo.calls_received(), 1);
    fabric.stop().await
}

#[tokio::test]
async fn timeout_of_each_protocol_ends_its_call() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let unary = WebProtocol::UNARY.map(|protocol| (protocol, "Say"));
    for (protocol, method) in unary.into_iter().chain(WebProtocol::STREAMS.map(|protocol| (protocol, "Converse"))) {
        echo.script([Reply::unfinished()]);
        let call = protocol.timeout(protocol.call(post(&fabric, method), &["late"]), 200);
        let answer = protocol.send(call).await?;
        assert_eq!(
            (answer.code, answer.reason()),
            (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()),
            "{protocol:?}"
        );
    }
    fabric.stop().await
}

#[tokio::test]
async fn json_posted_to_a_methods_own_path_is_connect_with_its_version_or_without() -> Result<()> {
    let (_echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for versions in [&["1"][..], &[]] {
        let call = versions
            .iter()
            .fold(post(&fabric, "Say"), |call, version| call.header("connect-protocol-version", version));
        let answer = call.body("application/json", "{\"colour\":1}").send().await?;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()?["code"]),
            (400, &"invalid_argument".into()),
            "{versions:?}"
        );
        assert_eq!(answer.json()?["details"][0]["debug"]["reason"], "FIELD_UNKNOWN", "{versions:?}");
    }
    let answer = post(&fabric, "Say").header("connect-protocol-version", "2").json(&json!({})).send().await?;
    assert_eq!((answer.status.as_u16(), &answer.json()?["code"]), (400, &"invalid_argument".into()));
    let answer = fabric.call(Method::POST, "/v1/words/w:change").json(&json!({"colour": 1})).send().await?;
    assert_eq!((answer.status.as_u16(), &answer.json()?["code"]), (400, &3.into()), "a rule has this path");
    fabric.stop().await
}

#[tokio::test]
async fn call_of_the_wrong_kind_is_refused_with_the_content_types_of_the_right_one() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let calls =
        [("Say", "application/connect+proto", "application/proto"), ("Recite", "application/proto", "connect+proto")];
    for (method, content_type, right) in calls {
        let answer = post(&fabric, method).body(content_type, word("a")).send().await?;
        assert!(answer.text().contains(right) && answer.text().contains("unimplemented"), "{}", answer.text());
    }
    assert_eq!(echo.calls_received(), 0);
    fabric.stop().await
}

#[tokio::test]
async fn calls_are_counted_by_protocol_with_the_status_that_stands_in_the_body() -> Result<()> {
    let (echo, mut fabric) = ScriptedUpstream::behind_gateway().await?;
    for protocol in WebProtocol::STREAMS {
        echo.script([Reply::unfinished().message(&word("a")).status(&Status::not_found("no more"))]);
        assert_eq!(ask(&fabric, protocol, "Recite", &["a"]).await?.code, Code::NotFound);
        assert_eq!(ask(&fabric, protocol, "Recite", &["a"]).await?.code, Code::Ok);
    }
    echo.script([Reply::unfinished().message(&word("a")).status(&Status::not_found("no more"))]);
    assert!(fabric.get("/v1/words/a:recite").send().await?.text().contains("@error"));
    for (protocol, calls) in [("grpc_web", 2.0), ("connect", 2.0), ("json", 1.0)] {
        let labels = [
            ("rpc_method", "echo.v1.EchoService/Recite"),
            ("accord_protocol", protocol),
            ("rpc_response_status_code", "NOT_FOUND"),
        ];
        let count = "rpc_server_call_duration_seconds_count";
        fabric.gateway.await_metric(count, &labels, |counted| counted >= calls).await?;
    }
    fabric.stop().await
}
