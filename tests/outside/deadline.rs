//! Deadlines that hold on every hop.

use crate::{journal, number, with_echo};
use accord_fabric::{EDITOR, Fabric};
use anyhow::Result;
use serde_json::Value;
use std::time::{Duration, Instant};

#[tokio::test]
async fn deadline_of_the_caller_reaches_the_handler() -> Result<()> {
    let fabric = with_echo().await?;
    let token = fabric.token(EDITOR).await?;
    // The first call pays for connections and decisions; the deadline is to be spent in the service.
    assert_eq!(fabric.get("/v1/slow/0").token(&token).send().await?.status, 200);

    let begun = Instant::now();
    let answer = fabric.get("/v1/slow/1000").token(&token).header("request-timeout", "0.3").send().await?;
    let took = begun.elapsed();
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert!(answer.text().contains("DEADLINE_EXCEEDED"), "{}", answer.text());
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_millis(900), "not the service's own second: {took:?}");

    let slow = ended(&fabric).await?;
    let left = number(&slow, "remainingMilliseconds");
    assert!((1..300).contains(&left), "the service saw less than what the caller gave: {left}");
    assert_eq!(slow["cancelled"], true, "{slow}");
    fabric.stop().await
}

#[tokio::test]
async fn expired_call_reaches_no_handler() -> Result<()> {
    let fabric = with_echo().await?;
    let token = fabric.token(EDITOR).await?;
    let answer = fabric.get("/v1/slow/1000").token(&token).header("request-timeout", "0").send().await?;
    assert_eq!(answer.status, 504);
    let reached = journal(&fabric).await?;
    assert!(reached.iter().all(|entry| entry["method"] != "Slow"), "{reached:?}");
    fabric.stop().await
}

/// The journal's last slow call, once the service has noticed that it is over.
async fn ended(fabric: &Fabric) -> Result<Value> {
    let patience = Instant::now() + Duration::from_secs(5);
    loop {
        let entries = journal(fabric).await?;
        let slow = entries.iter().rev().find(|entry| entry["method"] == "Slow").cloned().unwrap_or_default();
        if slow["ended"] == true {
            return Ok(slow);
        }
        anyhow::ensure!(Instant::now() < patience, "the service never noticed: {entries:?}");
    }
}
