//! Access log: what it says of a call, and what it never says.

use crate::{
    create,
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{GrpcCall, frame, word},
};
use accord_api::accord::auth::v1::{ClientCredentialsGrant, IssueRequest, issue_request};
use accord_fabric::{EDITOR, Fabric};
use anyhow::Result;
use http::Method;
use prost::Message;
use serde_json::{Value, json};
use tonic::Code;

#[tokio::test]
async fn access_log_tells_protocol_principal_status_bytes_and_cache_outcome() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(EDITOR).await?;
    for id in ["first", "second"] {
        fabric.get("/v1/products/oak-desk").token(&token).header("x-request-id", id).send().await?;
    }
    for (id, outcome) in [("first", "uri-miss"), ("second", "hit")] {
        let line = &fabric.gateway.await_access_log(id, 1).await?[0];
        let facts = ["service", "listener", "protocol", "method", "principal_kind", "status", "cache"];
        let expected =
            ["accord-gateway", "public", "json", "catalog.v1.ProductService/GetProduct", "user", "OK", outcome];
        assert_eq!(facts.map(|fact| line[fact].clone()), expected.map(Value::from), "{line}");
        assert!(line["response_bytes"].as_u64() > Some(100) && line["request_bytes"].is_null(), "{line}");
        assert_eq!(line["timeout_ms"], json!(2000.0));
        assert!(line["upstream_ms"].as_f64() < line["duration_ms"].as_f64(), "{line}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn access_log_counts_the_bytes_of_a_body_as_they_were_sent_in_either_protocol() -> Result<()> {
    let (_echo, mut fabric) = ScriptedUpstream::behind_gateway().await?;
    // One that passes through, and one that is read, since it is invalidated by.
    for method in ["Say", "Change"] {
        GrpcCall::new(&fabric, method, "word").header("x-request-id", method).send().await?.ok()?;
        let line = &fabric.gateway.await_access_log(method, 1).await?[0];
        assert_eq!(line["request_bytes"], json!(word("word").len()), "{line}");
    }
    let text = r#"{"text":"word"}"#;
    let call = fabric.call(Method::POST, "/echo.v1.EchoService/Change").body("application/json", text);
    call.header("x-request-id", "json").send().await?;
    let line = &fabric.gateway.await_access_log("json", 1).await?[0];
    assert_eq!(line["request_bytes"], json!(text.len()), "{line}");
    fabric.stop().await
}

#[tokio::test]
async fn access_log_of_each_hop_has_the_ids_of_the_request_and_a_shorter_timeout() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(EDITOR).await?;
    let call = fabric.get("/v1/products/oak-desk").token(&token).header("x-request-id", "hops");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    call.header("traceparent", &format!("00-{trace}-b7ad6b7169203331-01")).send().await?;
    let mut timeouts = Vec::new();
    for server in [&mut fabric.gateway, &mut fabric.cache, &mut fabric.catalog] {
        let line = &server.await_access_log("hops", 1).await?[0];
        assert_eq!(line["trace_id"], trace, "{line}");
        timeouts.push(line["timeout_ms"].as_f64());
    }
    assert!(timeouts[0] > timeouts[1] && timeouts[1] > timeouts[2] && timeouts[2] > Some(0.0), "{timeouts:?}");
    fabric.stop().await
}

#[tokio::test]
async fn access_log_counts_attempts_at_the_upstream() -> Result<()> {
    let (echo, mut fabric) = ScriptedUpstream::behind_gateway().await?;
    echo.script([Reply::error(Code::Unavailable)]);
    GrpcCall::new(&fabric, "Repeat", "again").header("x-request-id", "retried").send().await?.ok()?;
    let line = &fabric.gateway.await_access_log("retried", 1).await?[0];
    assert_eq!((&line["attempts"], &line["protocol"]), (&json!(2), &json!("grpc")), "{line}");
    fabric.stop().await
}

#[tokio::test]
async fn access_log_tells_the_reason_of_a_refusal_and_never_the_token() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    let token = fabric.token(EDITOR).await?;
    let forged = format!("{token}x");
    fabric.get("/v1/products/oak-desk").token(&forged).header("x-request-id", "refused").send().await?;
    let line = &fabric.gateway.await_access_log("refused", 1).await?[0];
    assert_eq!((&line["status"], &line["reason"]), (&json!("UNAUTHENTICATED"), &json!("CREDENTIAL_INVALID")), "{line}");
    assert!(!line.to_string().contains(&token[..20]), "{line}");
    fabric.stop().await
}

#[tokio::test]
async fn access_log_of_auth_and_cache_tells_the_reason_of_their_own_refusals() -> Result<()> {
    let mut fabric = Fabric::builder()?.cache_fronted().start().await?;
    let grant = ClientCredentialsGrant {
        client_id: "shop\n".to_owned(),
        client_secret: "wrong".to_owned(),
        ..ClientCredentialsGrant::default()
    };
    let login = IssueRequest { grant: Some(issue_request::Grant::ClientCredentials(grant)) };
    let login =
        GrpcCall::to(fabric.auth.listen, "/accord.auth.v1.TokenService/Issue").body(frame(0, &login.encode_to_vec()));
    login.header("x-request-id", "login").send().await?;
    let token = fabric.token(EDITOR).await?;
    fabric.get("/v1/cache/nowhere/key").token(&token).header("x-request-id", "key").send().await?;
    let (login, key) =
        (&fabric.auth.await_access_log("login", 1).await?[0], &fabric.cache.await_access_log("key", 1).await?[0]);
    assert_eq!((&login["reason"], &key["reason"]), (&json!("CREDENTIAL_INVALID"), &json!("NAMESPACE_UNKNOWN")));
    let words = fabric.auth.process.log();
    let warned = words.lines().find(|line| line.contains("login refused")).unwrap_or_default();
    assert!(warned.contains(r#"client_id="shop\n""#) && warned.contains("no such client"), "{words}");
    fabric.stop().await
}
