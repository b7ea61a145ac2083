//! The echo service: plain gRPC, reflection v1alpha only, and everything about it declared in an overlay.

use crate::{journal, number, with_echo};
use accord_fabric::{EDITOR, READER};
use anyhow::Result;

#[tokio::test]
async fn unknown_service_is_transcoded_and_cached() -> Result<()> {
    let fabric = with_echo().await?;
    let token = fabric.token(READER).await?;
    let say = || fabric.get("/v1/echo/hello").token(&token).send();
    let first = say().await?;
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!((first.json()?["text"].clone(), first.json()?["call"].clone()), ("hello".into(), "1".into()));
    let second = say().await?;
    assert_eq!(second.json()?["call"], "1", "the service was not asked again");
    assert!(second.header("cache-status").unwrap().starts_with("accord; hit"));
    assert_eq!(fabric.get("/v1/echo/hello").send().await?.status, 401);

    let lines = fabric.get("/v1/count/3").token(&token).send().await?;
    assert_eq!(lines.text().lines().count(), 3, "{}", lines.text());
    fabric.stop().await
}

#[tokio::test]
async fn metadata_reaches_an_unknown_service() -> Result<()> {
    let fabric = with_echo().await?;
    let token = fabric.token(READER).await?;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let call = fabric.get("/v1/metadata").token(&token).header("x-request-id", "journey-7");
    let call = call.header("traceparent", trace).header("x-accord-passport", "forged").header("request-timeout", "2");
    let seen = call.send().await?.json()?;
    let metadata = &seen["metadata"];
    assert_eq!(metadata["x-request-id"], "journey-7");
    assert!(metadata["traceparent"].as_str().unwrap().starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{seen}");
    assert_eq!(metadata["x-accord-passport"].as_str().unwrap().split('.').count(), 3, "auth's own passport");
    assert!(metadata["authorization"].is_null(), "the caller's token stays at the gateway");
    let left = number(&seen, "remainingMilliseconds");
    assert!((1..=2000).contains(&left), "{left}");
    fabric.stop().await
}

#[tokio::test]
async fn metadata_of_a_cache_load_is_the_same() -> Result<()> {
    let fabric = with_echo().await?;
    let token = fabric.token(READER).await?;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let call = fabric.get("/v1/echo/through-the-cache").token(&token).header("x-request-id", "journey-8");
    let answer = call.header("traceparent", trace).header("request-timeout", "2").send().await?;
    assert_eq!(
        answer.header("cache-status").map(|it| it.starts_with("accord; fwd=uri-miss")),
        Some(true),
        "{answer:?}"
    );
    let entries = journal(&fabric).await?;
    let said = entries.iter().find(|entry| entry["method"] == "Say").expect("the load reached the service");
    assert_eq!(said["requestId"], "journey-8");
    assert!(said["traceparent"].as_str().unwrap().starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{said}");
    let left = number(said, "remainingMilliseconds");
    assert!((1..=2000).contains(&left), "{left}");
    fabric.stop().await
}

#[tokio::test]
async fn errors_of_an_unknown_service_pass_unchanged() -> Result<()> {
    let fabric = with_echo().await?;
    let fail = serde_json::json!({ "code": 9, "message": "not today" });
    let call = |token: &str| fabric.call(http::Method::POST, "/v1/fail").token(token).json(&fail).send();
    assert_eq!(call(&fabric.token(READER).await?).await?.status, 403, "its overlay asks for a permission");
    let answer = call(&fabric.token(EDITOR).await?).await?;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()?["code"], 9);
    assert_eq!(answer.json()?["message"], "not today");
    assert_eq!(answer.header("x-accord-fault"), None);
    fabric.stop().await
}

#[tokio::test]
async fn mutations_of_an_unknown_service_have_idempotency_rate_limits_and_invalidation() -> Result<()> {
    let fabric = with_echo().await?;
    let token = fabric.token(EDITOR).await?;
    let say = async || fabric.get("/v1/echo/hello").token(&token).send().await?.json();
    assert_eq!((say().await?["call"].clone(), say().await?["call"].clone()), ("1".into(), "1".into()));

    let keyed = || fabric.call(http::Method::POST, "/v1/journal").token(&token).header("idempotency-key", "once");
    let first = keyed().json(&serde_json::json!({ "forget": true })).send().await?;
    assert_eq!(first.json()?["entries"].as_array().map(Vec::len), Some(1), "{}", first.text());
    assert!(first.header("ratelimit-policy").is_some_and(|policy| policy.contains("q=50;w=60")), "{first:?}");
    assert_eq!(say().await?["call"], "2", "what was said before the mutation is not said again");

    let again = keyed().json(&serde_json::json!({ "forget": true })).send().await?;
    assert_eq!((again.header("idempotency-replayed"), &again.body), (Some("true"), &first.body));
    let other = keyed().json(&serde_json::json!({ "forget": false })).send().await?;
    assert_eq!(other.status, 422, "{}", other.text());
    fabric.stop().await
}
