//! Metadata that is passed on or refused, ambiguous paths, unknown protocols.

use crate::{
    reason,
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{GrpcCall, word},
};
use accord_fabric::{EDITOR, Fabric};
use anyhow::Result;
use http::{HeaderMap, Method};
use tonic::{Code, Status};

const CONSISTENCY_TOKEN: &str = "x-accord-consistency-token";

/// The reserved ones, but for a token that is not `forged`.
fn ours(headers: &HeaderMap) -> Vec<&str> {
    let of_upstream = headers.iter().filter(|(name, value)| *name != CONSISTENCY_TOKEN || *value == "forged");
    let names = of_upstream.map(|(name, _)| name.as_str());
    names.filter(|name| name.replace('_', "-").starts_with("x-accord")).collect()
}

#[tokio::test]
async fn reserved_headers_pass_in_neither_direction() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for method in ["Say", "Change", "Repeat"] {
        let call = GrpcCall::new(&fabric, method, "ours").header("x-accord-passport", "forged");
        call.header("x_accord_passport", "forged").header("x-accord_tenant", "forged").send().await?.ok()?;
    }
    let received = echo.take_received();
    assert_eq!(received.len(), 3);
    assert!(received.iter().all(|call| ours(&call.headers).is_empty()), "{received:?}");

    let (ok, no) = (Status::new(Code::Ok, ""), Status::not_found("no"));
    let forged = |reply: Reply| {
        let reply = reply.head("x-accord-fault", "auth").head(CONSISTENCY_TOKEN, "forged");
        reply.trailer("x_accord-fault", "auth").trailer("kept", "1")
    };
    for method in ["Say", "Change", "Recite"] {
        for reply in [Reply::unfinished().message(&word("w")).status(&ok), Reply::unfinished().status(&no)] {
            echo.script([forged(reply)]);
            let answer = GrpcCall::new(&fabric, method, "theirs").send().await?;
            assert_eq!((ours(&answer.head), ours(&answer.trailers)), (vec![], vec![]), "{method}: {answer:?}");
            assert_eq!(answer.trailers["kept"], "1", "{method}");
        }
    }
    for path in ["/v1/words/theirs", "/v1/words/theirs:recite"] {
        echo.script([forged(Reply::unfinished().message(&word("w")).status(&ok))]);
        let answer = fabric.get(path).send().await?;
        assert_eq!((answer.status.as_u16(), ours(&answer.headers)), (200, vec![]), "{path}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn ambiguous_authorization_is_invalid_argument() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let token = fabric.token(EDITOR).await?;
    let get = || fabric.get("/v1/words/twice").token(&token);
    for call in [get().token(&token), get().header("connection", "authorization")] {
        let answer = call.send().await?;
        assert_eq!((answer.status.as_u16(), reason(&answer).as_str()), (400, "HEADER_REFUSED"));
    }
    assert!(echo.take_received().is_empty());
    fabric.stop().await
}

#[tokio::test]
async fn hop_by_hop_headers_are_not_forwarded() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let call = fabric.call(Method::POST, "/v1/words/hop:change").header("connection", "x-hop").header("x-hop", "1");
    let call = call.header("keep-alive", "timeout=9").header("te", "trailers, x").header("proxy-authorization", "no");
    assert_eq!(call.header("x-kept", "1").header("cookie", "a=b").send().await?.status, 200);
    let received = echo.take_received().remove(0).headers;
    for name in ["connection", "x-hop", "keep-alive", "proxy-authorization", "cookie", "authorization", "host"] {
        assert!(!received.contains_key(name), "{name}");
    }
    assert_eq!((received["te"].as_bytes(), received["x-kept"].as_bytes()), (&b"trailers"[..], &b"1"[..]));
    fabric.stop().await
}

#[tokio::test]
async fn forwarding_headers_of_a_caller_are_replaced() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    GrpcCall::new(&fabric, "Change", "way").header("x-forwarded-for", "1.1.1.1").send().await?.ok()?;
    let call = fabric.call(Method::POST, "/v1/words/way:change").header("x_forwarded_for", "1.1.1.1");
    assert_eq!(call.header("x-real-ip", "1.1.1.1").send().await?.status, 200);
    for received in echo.take_received() {
        assert_eq!(received.headers["x-forwarded-for"], "127.0.0.1");
        assert_eq!(received.headers["x-forwarded-proto"], "http");
        assert!(!format!("{:?}", received.headers).contains("1.1.1.1"), "{received:?}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn line_break_in_a_status_message_adds_no_header() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let split = Status::not_found("no\r\nx-grown: 1");
    echo.script([Reply::unfinished().status(&split), Reply::unfinished().status(&split)]);
    let answer = GrpcCall::new(&fabric, "Change", "split").send().await?;
    assert_eq!(answer.status().message(), split.message());
    assert!(!answer.head.contains_key("x-grown"));
    let answer = fabric.call(Method::POST, "/v1/words/a%20b:change").send().await?;
    assert_eq!((answer.status.as_u16(), answer.json()?["message"].as_str()), (404, Some(split.message())));
    assert_eq!(answer.header("x-grown"), None);
    fabric.stop().await
}

#[tokio::test]
async fn public_method_takes_anonymous_calls_but_no_invalid_credential() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    GrpcCall::new(&fabric, "Say", "anyone").send().await?.ok()?;
    let token = fabric.token(EDITOR).await?;
    let bearer = format!("Bearer {token}");
    GrpcCall::new(&fabric, "Say", "someone").header("authorization", &bearer).send().await?.ok()?;
    let passports: Vec<_> =
        echo.take_received().iter().map(|call| call.headers.contains_key("x-accord-passport")).collect();
    assert_eq!(passports, [false, true], "only a known caller has a passport");

    let bad = GrpcCall::new(&fabric, "Say", "nobody").header("authorization", &format!("{bearer}x")).send().await?;
    assert_eq!(bad.refusal(), (Code::Unauthenticated, "CREDENTIAL_INVALID".into()));
    assert!(echo.take_received().is_empty());
    fabric.stop().await
}

#[tokio::test]
async fn principal_of_a_kind_that_is_not_declared_is_permission_denied() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let token = fabric.token(EDITOR).await?;
    let bearer = format!("Bearer {token}");
    let person = GrpcCall::new(&fabric, "Compute", "person").header("authorization", &bearer).send().await?;
    assert_eq!(person.refusal(), (Code::PermissionDenied, "PRINCIPAL_KIND_REFUSED".into()));
    let call = fabric.call(Method::POST, "/echo.v1.EchoService/Compute").token(&token);
    let person = call.body("application/json", "{}").send().await?;
    assert_eq!((person.status.as_u16(), reason(&person).as_str()), (403, "PRINCIPAL_KIND_REFUSED"));
    assert!(echo.take_received().is_empty());
    fabric.stop().await
}

#[tokio::test]
async fn path_in_another_than_its_canonical_form_is_not_found() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let paths = [
        "//echo.v1.EchoService/Say",
        "/echo.v1.EchoService//Say",
        "/echo.v1.EchoService/Say/",
        "/echo.v1.EchoService%2FSay",
        "/echo.v1.EchoService/%53ay",
        "/echo.v1.EchoService/../echo.v1.EchoService/Say",
        "/echo.v1.EchoService/./Say",
        "/echo.v1.EchoService/say",
        "/echo.v1.EchoService",
        "/",
    ];
    for path in paths {
        let answer = GrpcCall::new(&fabric, "Say", "where").path(path).send().await?;
        assert_eq!(answer.code(), Code::Unimplemented, "{path}: {answer:?}");
        let answer = fabric.call(Method::POST, path).body("application/json", "{}").send().await?;
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{path}: {} {}", answer.status, answer.text());
    }
    for path in ["//v1/words/a", "/v1/words//a", "/v1/words/a/", "/v1/words/..", "/v1/words/%2e%2e", "/v1%2fwords/a"] {
        let answer = fabric.get(path).send().await?;
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{path}: {} {}", answer.status, answer.text());
    }
    assert_eq!(echo.calls_received(), 0);
    fabric.stop().await
}

#[tokio::test]
async fn escaped_path_names_the_same_resource_to_cache_and_invalidation() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for path in ["/v1/words/a%2Fb", "/v1/words/%61%2fb"] {
        assert_eq!(fabric.get(path).send().await?.json()?["text"], "a/b", "{path}");
    }
    assert_eq!(GrpcCall::new(&fabric, "Recall", "a/b").send().await?.ok()?, word("a/b"));
    assert_eq!(echo.calls_received(), 1, "read once");
    fabric.call(Method::POST, "/v1/words/%61%2Fb:change").send().await?;
    assert_eq!(fabric.get("/v1/words/a%2Fb").send().await?.json()?["text"], "a/b");
    assert_eq!(echo.calls_received(), 3, "changed, and read again");
    fabric.stop().await
}

#[tokio::test]
async fn encoding_of_a_body_that_is_not_there_is_of_no_consequence() -> Result<()> {
    let (_echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let answer = fabric.get("/v1/words/a").header("content-encoding", "lzw").send().await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = fabric.call(Method::POST, "/v1/words/a:change").header("content-encoding", "lzw");
    let answer = answer.body("application/json", "{}").send().await?;
    assert_eq!(answer.status, 415, "{}", answer.text());
    fabric.stop().await
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body() -> Result<()> {
    let (_echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let get = fabric.get("/v1/words/head").send().await?;
    let head = fabric.call(Method::HEAD, "/v1/words/head").send().await?;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    for name in ["content-type", "content-length"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    let options = fabric.call(Method::OPTIONS, "/v1/words/head").send().await?;
    assert_eq!((options.status.as_u16(), options.header("allow")), (405, Some("GET, HEAD")));
    fabric.stop().await
}

#[tokio::test]
async fn protocol_that_is_not_served_is_refused_with_those_that_are() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for content_type in ["application/grpc", "application/xml", "application/connect+cbor"] {
        let call = fabric.call(Method::POST, "/echo.v1.EchoService/Say");
        let answer = call.body(content_type, word("who")).send().await?;
        assert_eq!((answer.status.as_u16(), reason(&answer).as_str()), (415, "PROTOCOL_UNSUPPORTED"), "{content_type}");
        assert!(
            answer.json()?["message"]
                .as_str()
                .is_some_and(|message| message.contains("JSON") || message.contains("json"))
        );
    }
    let odd = GrpcCall::new(&fabric, "Say", "odd").header("content-type", "application/grpc+thrift").send().await?;
    assert_eq!(odd.refusal(), (Code::Unimplemented, "PROTOCOL_UNSUPPORTED".into()));
    let put = GrpcCall::new(&fabric, "Say", "odd").method(Method::PUT).send().await?;
    assert_eq!(put.refusal(), (Code::Unimplemented, "PROTOCOL_UNSUPPORTED".into()));
    assert_eq!(echo.calls_received(), 0);
    fabric.stop().await
}

#[tokio::test]
async fn health_and_reflection_are_answered_in_grpc_alone() -> Result<()> {
    let fabric = Fabric::start().await?;
    for path in ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"] {
        for method in [Method::GET, Method::POST] {
            let answer = fabric.call(method, path).body("application/json", "{}").send().await?;
            assert_eq!((answer.status.as_u16(), reason(&answer).as_str()), (404, "METHOD_UNKNOWN"), "{path}");
        }
    }
    fabric.stop().await
}

#[tokio::test]
async fn body_of_any_content_type_reaches_a_method_that_takes_http_bodies() -> Result<()> {
    let (_echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let stored = fabric.call(Method::POST, "/v1/store").body("text/plain", "as it stands").send().await?;
    assert_eq!((stored.text().as_str(), stored.header("content-type")), ("as it stands", Some("text/plain")));
    fabric.stop().await
}

#[tokio::test]
async fn json_with_a_charset_is_json() -> Result<()> {
    let (_echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let call = fabric.call(Method::POST, "/echo.v1.EchoService/Say");
    let answer = call.body("application/json; charset=utf-8", r#"{"text":"so"}"#).send().await?;
    assert_eq!(answer.json()?["text"], "so");
    fabric.stop().await
}

#[tokio::test]
async fn method_that_is_deprecated_says_so_in_its_answers() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let answer = GrpcCall::new(&fabric, "Race", "who").send().await?;
    assert_eq!(answer.head["deprecation"], "@0");
    let call = fabric.call(Method::POST, "/echo.v1.EchoService/Race").body("application/json", "{}");
    assert_eq!(call.send().await?.header("deprecation"), Some("@0"));
    echo.script([Reply::ok(&word("who")).head("deprecation", "@1688169599")]);
    let answer = GrpcCall::new(&fabric, "Race", "who").send().await?;
    assert_eq!(answer.head["deprecation"], "@1688169599", "the upstream knows since when");
    assert!(!GrpcCall::new(&fabric, "Say", "who").send().await?.head.contains_key("deprecation"));
    fabric.stop().await
}
