//! A gateway ends and another one takes its place: what the cache holds stays, unless something may not have been delivered.

use crate::{
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{GrpcCall, word},
};
use accord_fabric::Fabric;
use anyhow::{Result, ensure};
use std::time::Duration;

const END: Duration = Duration::from_secs(10);

#[tokio::test]
async fn orderly_restart_of_the_gateway_and_a_write_leave_all_other_answers_cached() -> Result<()> {
    let (_echo, mut fabric) = ScriptedUpstream::behind_gateway().await?;
    restart_without_flush(&mut fabric).await?;
    for number in 0..100 {
        recall(&fabric, number).await?;
    }
    restart(&mut fabric).await?;
    GrpcCall::new(&fabric, "Keep", "other").key("other").send().await?.ok()?;
    for number in 0..100 {
        let told = recall(&fabric, number).await?;
        ensure!(told.starts_with("accord; hit"), "{number}: {told}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn gateway_that_is_killed_with_a_deferred_write_leaves_nothing_cached() -> Result<()> {
    let (echo, mut fabric) = ScriptedUpstream::behind_gateway().await?;
    restart_without_flush(&mut fabric).await?;
    recall(&fabric, 1).await?;
    fabric.cache.process.pause()?;
    let written = GrpcCall::new(&fabric, "Change", "1").send().await?;
    assert_eq!(written.head["x-accord-invalidation"], "DEFERRED");
    fabric.gateway.process.kill()?;
    fabric.cache.process.resume()?;
    fabric.gateway.process.restart()?;
    fabric.gateway.wait_serving().await?;
    echo.take_received();
    echo.script(vec![Reply::ok(&word("new")); 1_000]);
    let silent = [("cause", "silent_sender")];
    while fabric.cache.metric("accord_cache_flushes_total", &silent).await? < 1.0 {
        assert_eq!(GrpcCall::new(&fabric, "Recall", "1").send().await?.ok()?, word("new"));
    }
    fabric.stop().await
}

/// Restarts the gateway until that costs nothing: a cache that is new does not know yet who sends to it.
async fn restart_without_flush(fabric: &mut Fabric) -> Result<()> {
    let flushes = async |fabric: &Fabric| fabric.cache.metric("accord_cache_flushes_total", &[]).await;
    for _ in 0..20 {
        let before = flushes(fabric).await?;
        restart(fabric).await?;
        recall(fabric, 0).await?;
        if flushes(fabric).await? <= before {
            return Ok(());
        }
    }
    anyhow::bail!("each orderly restart costs a flush");
}

async fn restart(fabric: &mut Fabric) -> Result<()> {
    ensure!(fabric.gateway.process.terminate(END).await?.success());
    fabric.gateway.process.restart()?;
    fabric.gateway.wait_serving().await
}

/// Reads a word, and tells where its answer came from.
async fn recall(fabric: &Fabric, number: usize) -> Result<String> {
    let answer = GrpcCall::new(fabric, "Recall", &number.to_string()).send().await?;
    Ok(answer.head["cache-status"].to_str()?.to_owned())
}
