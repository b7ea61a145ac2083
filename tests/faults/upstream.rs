//! An upstream that is slow, gone, or not there yet.

use crate::stock;
use accord_fabric::{EDITOR, Fabric};
use anyhow::Result;
use std::time::{Duration, Instant};

#[tokio::test]
async fn upstream_that_hangs_ends_at_the_deadline() -> Result<()> {
    let fabric = Fabric::start().await?;
    stock(&fabric).await?;
    let token = fabric.token(EDITOR).await?;
    fabric.catalog.process.pause()?;
    let begun = Instant::now();
    let call = fabric.get("/v1/products:watch").token(&token).header("request-timeout", "0.3");
    let answer = call.send().await?;
    let took = begun.elapsed();
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert!(took >= Duration::from_millis(300), "{took:?}");
    // Far below the contract's own minute: what ended it was the caller's wish.
    assert!(took < Duration::from_secs(20), "{took:?}");
    fabric.catalog.process.resume()?;
    fabric.stop().await
}

#[tokio::test]
async fn upstream_that_is_down_fails_its_own_methods_alone() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    stock(&fabric).await?;
    let token = fabric.token(EDITOR).await?;
    fabric.catalog.process.kill()?;
    let answer = fabric.get("/v1/products?pageSize=7").token(&token).send().await?;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("UPSTREAM_UNAVAILABLE"), "{}", answer.text());
    fabric.catalog.process.restart()?;
    fabric.catalog.wait_serving().await?;
    crate::until(&fabric, &token, Duration::from_secs(10), |answer| answer.status == 200).await?;
    fabric.stop().await
}

#[tokio::test]
async fn upstream_that_starts_after_the_gateway_is_served() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    stock(&fabric).await?;
    let token = fabric.token(EDITOR).await?;
    fabric.catalog.process.kill()?;
    fabric.gateway.process.terminate(Duration::from_secs(10)).await?;
    fabric.gateway.process.restart()?;
    fabric.gateway.await_metric("accord_dependency_up", &[("dependency", "auth")], |up| up > 0.0).await?;
    let pending = fabric.get("/v1/products/oak-desk").token(&token).send().await?;
    assert_eq!(pending.status, 503);
    assert!(pending.text().contains("CONTRACT_PENDING"), "{}", pending.text());
    fabric.catalog.process.restart()?;
    fabric.catalog.wait_serving().await?;
    crate::until(&fabric, &token, Duration::from_secs(15), |answer| answer.status == 200).await?;
    fabric.stop().await
}
