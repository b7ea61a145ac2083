//! Without the cache reads go to the catalog, and writes say what they could not do.

use crate::{stock, until};
use accord_fabric::{EDITOR, Fabric};
use anyhow::Result;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn cache_that_is_down_is_bypassed_and_loses_what_it_missed() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    stock(&fabric).await?;
    let token = fabric.token(EDITOR).await?;
    until(&fabric, &token, Duration::from_secs(5), |answer| is_hit(answer.header("cache-status"))).await?;

    fabric.cache.process.kill()?;
    let answer = fabric.get("/v1/products/oak-desk").token(&token).send().await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-status"), Some("accord; fwd=bypass"));
    assert!(fabric.gateway.metric("accord_gateway_cache_bypassed_total", &[]).await? >= 1.0);

    // Enough of them for the gateway to give the cache up for a while; it must come back to it under the same load.
    for _ in 0..20 {
        assert_eq!(fabric.get("/v1/products/oak-desk").token(&token).send().await?.status, 200);
    }
    let put = fabric.call(http::Method::PUT, "/v1/products/oak-desk").token(&token);
    let put = put.json(&json!({ "title": "Written while the cache was gone" })).send().await?;
    assert_eq!((put.status.as_u16(), put.header("x-accord-invalidation")), (200, Some("DEFERRED")), "{}", put.text());
    let waits = "accord_gateway_invalidation_duration_seconds_count";
    fabric.gateway.await_metric(waits, &[("outcome", "deferred")], |count| count >= 1.0).await?;

    fabric.cache.process.restart()?;
    fabric.cache.wait_serving().await?;
    let seen = until(&fabric, &token, Duration::from_secs(10), |answer| is_hit(answer.header("cache-status"))).await?;
    assert_eq!(seen.json()?["title"], "Written while the cache was gone");
    fabric.stop().await
}

#[tokio::test]
async fn cache_that_is_down_is_logged_with_a_stable_reason() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    stock(&fabric).await?;
    let token = fabric.token(EDITOR).await?;
    fabric.cache.process.kill()?;
    fabric.get("/v1/products/oak-desk").token(&token).send().await?;
    let log = fabric.gateway.process.log();
    let line = log.lines().find(|line| line.contains("the cache is down")).unwrap_or_default();
    assert!(line.contains("reason=\"UPSTREAM_UNAVAILABLE\""), "{log}");
    fabric.stop().await
}

#[tokio::test]
async fn cache_that_missed_an_invalidation_serves_nothing_older() -> Result<()> {
    let fabric = Fabric::start().await?;
    stock(&fabric).await?;
    let token = fabric.token(EDITOR).await?;
    until(&fabric, &token, Duration::from_secs(5), |answer| is_hit(answer.header("cache-status"))).await?;

    fabric.cache.process.pause()?;
    let put = fabric.call(http::Method::PUT, "/v1/products/oak-desk").token(&token);
    let put = put.json(&json!({ "title": "Written while the cache hung" })).send().await?;
    assert_eq!((put.status.as_u16(), put.header("x-accord-invalidation")), (200, Some("DEFERRED")), "{}", put.text());
    fabric.cache.process.resume()?;
    let is_new = |answer: &accord_fabric::http::HttpResponse| answer.text().contains("while the cache hung");
    until(&fabric, &token, Duration::from_secs(10), |answer| is_new(answer) && is_hit(answer.header("cache-status")))
        .await?;
    fabric.stop().await
}

#[tokio::test]
async fn restarted_gateway_reads_nothing_that_the_one_before_it_could_not_invalidate() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    stock(&fabric).await?;
    let token = fabric.token(EDITOR).await?;
    until(&fabric, &token, Duration::from_secs(5), |answer| is_hit(answer.header("cache-status"))).await?;

    fabric.cache.process.pause()?;
    let put = fabric.call(http::Method::PUT, "/v1/products/oak-desk").token(&token);
    let put = put.json(&json!({ "title": "Written by the one before" })).send().await?;
    assert_eq!((put.status.as_u16(), put.header("x-accord-invalidation")), (200, Some("DEFERRED")), "{}", put.text());
    fabric.gateway.process.kill()?;
    fabric.gateway.process.restart()?;
    fabric.gateway.wait_serving().await?;
    fabric.cache.process.resume()?;
    // Past the cache at first, through it as soon as it knows of the new gateway; never the older answer.
    let is_wrong = |answer: &accord_fabric::http::HttpResponse| !answer.text().contains("by the one before");
    let seen = until(&fabric, &token, Duration::from_secs(10), |answer| {
        is_wrong(answer) || is_hit(answer.header("cache-status"))
    });
    let seen = seen.await?;
    assert!(!is_wrong(&seen), "{}", seen.text());
    fabric.stop().await
}

#[tokio::test]
async fn cache_that_hangs_is_bypassed_within_the_deadline() -> Result<()> {
    let fabric = Fabric::start().await?;
    stock(&fabric).await?;
    let token = fabric.token(EDITOR).await?;
    until(&fabric, &token, Duration::from_secs(5), |answer| is_hit(answer.header("cache-status"))).await?;
    fabric.cache.process.pause()?;
    let answer = fabric.get("/v1/products/oak-desk").token(&token).header("request-timeout", "10").send().await?;
    assert_eq!(
        (answer.status.as_u16(), answer.header("cache-status")),
        (200, Some("accord; fwd=bypass")),
        "{answer:?}"
    );
    fabric.cache.process.resume()?;
    until(&fabric, &token, Duration::from_secs(10), |answer| is_hit(answer.header("cache-status"))).await?;
    fabric.stop().await
}

#[tokio::test]
async fn tag_that_the_cache_refuses_does_not_block_other_invalidations() -> Result<()> {
    let fabric = Fabric::builder()?.overlay("tests/faults/huge.toml").start().await?;
    stock(&fabric).await?;
    let token = fabric.token(EDITOR).await?;
    until(&fabric, &token, Duration::from_secs(5), |answer| is_hit(answer.header("cache-status"))).await?;
    let put = |title: String, timeout| {
        let call = fabric.call(http::Method::PUT, "/v1/products/oak-desk").token(&token);
        call.header("request-timeout", timeout).json(&json!({ "title": title })).send()
    };
    // The title is the tag, and larger than a message to the cache may be. Nobody refuses it before its time is over, so
    // it counts as a write that may have been done.
    fabric.catalog.process.pause()?;
    assert_eq!(put("x".repeat(5 << 20), "1").await?.status, 504);
    fabric.catalog.process.resume()?;

    let small = put("Small again".to_owned(), "10").await?;
    assert_eq!(small.status, 200, "{}", small.text());
    until(&fabric, &token, Duration::from_secs(10), |answer| answer.text().contains("Small again")).await?;
    let next = put("And again".to_owned(), "10").await?;
    assert_eq!((next.status.as_u16(), next.header("x-accord-invalidation")), (200, None), "{}", next.text());
    fabric.stop().await
}

#[tokio::test]
async fn on_cache_failure_fail_is_unavailable_for_its_method_alone() -> Result<()> {
    let mut fabric = Fabric::builder()?.overlay("tests/faults/strict.toml").start().await?;
    stock(&fabric).await?;
    let token = fabric.token(EDITOR).await?;
    fabric.cache.process.kill()?;
    // Also once the gateway has given the cache up.
    for _ in 0..10 {
        let answer = fabric.get("/v1/products/oak-desk").token(&token).send().await?;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains("CACHE_UNAVAILABLE"), "{}", answer.text());
    }
    let list = fabric.get("/v1/products").token(&token).send().await?;
    assert_eq!(list.status, 200, "{}", list.text());
    fabric.stop().await
}

#[tokio::test]
async fn idempotency_records_that_are_down_refuse_calls_with_a_key() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    let token = fabric.token(EDITOR).await?;
    fabric.cache.process.kill()?;
    let call = fabric.call(http::Method::POST, "/v1/products").token(&token).header("idempotency-key", "one");
    let answer = call.json(&json!({ "id": "oak-desk", "title": "Oak desk" })).send().await?;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("IDEMPOTENCY_UNAVAILABLE"), "{}", answer.text());
    fabric.stop().await
}

fn is_hit(cache_status: Option<&str>) -> bool {
    cache_status.is_some_and(|text| text.starts_with("accord; hit"))
}
