//! Idempotency: replay of stored answers.

use crate::{
    create, desk, reason,
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{GrpcCall, word},
};
use accord_fabric::{EDITOR, Fabric, READER, http::HttpResponse};
use anyhow::Result;
use http::Method;
use std::sync::Arc;
use tokio::sync::Notify;
use tonic::Code;

#[tokio::test]
async fn repeated_request_under_its_idempotency_key_is_replayed() -> Result<()> {
    let fabric = Fabric::start().await?;
    let first = create(&fabric, "Oak desk").await?;
    let again = create(&fabric, "Oak desk").await?;
    assert_eq!((first.status, again.status), (http::StatusCode::OK, http::StatusCode::OK), "{}", again.text());
    assert_eq!(first.body, again.body);
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), (None, Some("true")));
    fabric.stop().await
}

#[tokio::test]
async fn idempotency_key_reused_with_other_request_is_invalid_argument() -> Result<()> {
    let fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let other = create(&fabric, "Another desk").await?;
    assert_eq!((other.status.as_u16(), reason(&other).as_str()), (422, "IDEMPOTENCY_KEY_REUSED"));
    assert_eq!(other.json()?["code"], Code::InvalidArgument as i32);
    fabric.stop().await
}

#[tokio::test]
async fn idempotency_key_that_is_missing_or_malformed_is_invalid_argument() -> Result<()> {
    let fabric = Fabric::start().await?;
    let token = fabric.token(EDITOR).await?;
    let call = || fabric.call(Method::POST, "/v1/products").token(&token).json(&desk("Oak desk"));
    let missing = call().send().await?;
    assert_eq!((missing.status.as_u16(), reason(&missing).as_str()), (400, "IDEMPOTENCY_KEY_MISSING"));
    let malformed = call().header("idempotency-key", "two words").send().await?;
    assert_eq!((malformed.status.as_u16(), reason(&malformed).as_str()), (400, "HEADER_REFUSED"));
    fabric.stop().await
}

#[tokio::test]
async fn same_request_under_another_idempotency_key_reaches_the_handler() -> Result<()> {
    let fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(EDITOR).await?;
    let other = fabric.call(Method::POST, "/v1/products").token(&token).header("idempotency-key", "other");
    let other = other.json(&desk("Oak desk")).send().await?;
    assert_eq!(other.status, 409, "the handler's own answer: {}", other.text());
    fabric.stop().await
}

#[tokio::test]
async fn idempotency_record_survives_a_restart_of_the_cache() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    let first = create(&fabric, "Oak desk").await?;
    fabric.cache.process.kill()?;
    fabric.cache.process.restart()?;
    fabric.cache.wait_serving().await?;
    let again = create(&fabric, "Oak desk").await?;
    assert_eq!(again.header("idempotency-replayed"), Some("true"), "{} {}", again.status, again.text());
    assert_eq!(first.body, again.body);
    fabric.stop().await
}

#[tokio::test]
async fn idempotency_replay_invalidates_like_the_first_call() -> Result<()> {
    let fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(READER).await?;
    let is_hit = async || -> Result<bool> {
        let answer = fabric.get("/v1/products").token(&token).send().await?;
        Ok(answer.header("cache-status").is_some_and(|status| status.starts_with("accord; hit")))
    };
    assert_eq!([is_hit().await?, is_hit().await?], [false, true]);
    let again = create(&fabric, "Oak desk").await?;
    assert_eq!(again.header("idempotency-replayed"), Some("true"), "{} {}", again.status, again.text());
    assert!(!is_hit().await?, "what the first answer invalidated may have been deferred");
    fabric.stop().await
}

#[tokio::test]
async fn replayed_answer_has_the_metadata_of_the_first() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let keep = async || GrpcCall::new(&fabric, "Keep", "told").key("told").send().await;
    echo.script([Reply::ok(&word("told"))
        .head("location", "/v1/words/told")
        .head("x-edition-bin", "AP8")
        .trailer("x-cost", "3")]);
    let (first, again) = (keep().await?, keep().await?);
    assert_eq!((first.head.get("idempotency-replayed"), &again.head["idempotency-replayed"]), (None, &"true".parse()?));
    assert_eq!(first.body, again.body);
    for answer in [first, again] {
        assert_eq!(answer.head["location"], "/v1/words/told");
        assert_eq!(answer.head["x-edition-bin"], "AP8");
        assert_eq!(answer.trailers["x-cost"], "3");
        assert_eq!(answer.head.get_all("x-accord-consistency-token").iter().count(), 1, "{:?}", answer.head);
    }
    fabric.stop().await
}

#[tokio::test]
async fn replayed_error_has_the_metadata_of_the_first() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    echo.script([Reply::error(Code::FailedPrecondition).head("x-edition", "2")]);
    let first = keep(&fabric, "refused", "refused").await?;
    let again = keep(&fabric, "refused", "refused").await?;
    assert_eq!(again.header("idempotency-replayed"), Some("true"), "{}", again.text());
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (400, 400));
    assert_eq!((first.header("x-edition"), again.header("x-edition")), (Some("2"), Some("2")));
    fabric.stop().await
}

/// Keeps a word by way of JSON, under a key as it is written in the header.
async fn keep(fabric: &Fabric, text: &str, key: &str) -> Result<HttpResponse> {
    let call = fabric.call(Method::POST, &format!("/v1/words/{text}:keep"));
    call.header("idempotency-key", key).send().await
}

#[tokio::test]
async fn json_call_whose_idempotency_key_is_in_flight_is_a_conflict() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let barrier = Arc::new(Notify::new());
    echo.script([Reply::ok(&word("slow")).after(&barrier)]);
    let meanwhile = async {
        echo.wait_received(1).await?;
        let again = keep(&fabric, "slow", "\"one\"").await;
        barrier.notify_one();
        again
    };
    let (first, again) = tokio::try_join!(keep(&fabric, "slow", "\"one\""), meanwhile)?;
    assert_eq!((again.status.as_u16(), reason(&again).as_str()), (409, "IDEMPOTENCY_IN_FLIGHT"), "{}", again.text());
    assert!(again.header("retry-after").is_some(), "{:?}", again.headers);
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(keep(&fabric, "slow", "\"one\"").await?.header("idempotency-replayed"), Some("true"));
    assert_eq!(echo.take_received().len(), 1);
    fabric.stop().await
}

#[tokio::test]
async fn idempotency_key_is_the_same_with_quotes_and_without() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    keep(&fabric, "same", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"").await?;
    let again = keep(&fabric, "same", "8e03978e-40d5-43dd-bc93-6894a57f9324").await?;
    assert_eq!(again.header("idempotency-replayed"), Some("true"), "{} {}", again.status, again.text());
    let other = keep(&fabric, "other", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"").await?;
    assert_eq!((other.status.as_u16(), reason(&other).as_str()), (422, "IDEMPOTENCY_KEY_REUSED"));
    for malformed in ["\"open", "\"\"", "\"one\" two", "\"\\n\""] {
        let refused = keep(&fabric, "same", malformed).await?;
        assert_eq!((refused.status.as_u16(), reason(&refused).as_str()), (400, "HEADER_REFUSED"), "{malformed}");
    }
    assert_eq!(echo.take_received().len(), 1);
    fabric.stop().await
}
