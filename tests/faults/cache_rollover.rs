//! One cache process at a time: a successor waits for the lock on the data directory.

use crate::{stock, until};
use accord_fabric::{EDITOR, Fabric, Part, Server, http::HttpCall};
use anyhow::Result;
use std::{fs, time::Duration};

/// What is said once by a process that waits.
const WAITS: &str = "another cache process holds the data directory";

#[tokio::test]
async fn successor_of_a_cache_is_alive_and_not_ready_until_the_one_before_has_gone() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    let mut successor = waiting(&mut fabric).await?;
    let ask = |path: &'static str| HttpCall::new(successor.admin, http::Method::GET, path).send();
    assert_eq!(ask("/livez").await?.status, 200);
    let ready = ask("/readyz").await?;
    assert_eq!((ready.status.as_u16(), &*ready.text()), (503, "not ready: lock of the data directory\n"));
    assert!(tokio::net::TcpStream::connect(successor.listen).await.is_err(), "it does not listen");

    // One that is paused has not gone.
    fabric.cache.process.pause()?;
    assert_eq!(ask("/readyz").await?.status, 503);
    fabric.cache.process.kill()?;
    successor.wait_serving().await?;
    assert_eq!(successor.process.log().matches(WAITS).count(), 1, "{}", successor.process.log());
    Ok(())
}

#[tokio::test]
async fn successor_that_is_ended_while_it_waits_ends_at_once() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    let mut successor = waiting(&mut fabric).await?;
    assert!(successor.process.terminate(Duration::from_secs(5)).await?.success());
    fabric.stop().await
}

#[tokio::test]
async fn gateway_goes_on_with_the_successor_of_its_cache() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    stock(&fabric).await?;
    let token = fabric.token(EDITOR).await?;
    let mut successor = fabric.successor(Part::Cache)?;
    says_that_it_waits(&successor).await?;
    fabric.cache.process.terminate(Duration::from_secs(15)).await?;
    successor.wait_serving().await?;
    let is_hit = |status: Option<&str>| status.is_some_and(|status| status.starts_with("accord; hit"));
    until(&fabric, &token, Duration::from_secs(10), |answer| is_hit(answer.header("cache-status"))).await?;
    Ok(())
}

#[tokio::test]
async fn cache_whose_lock_file_is_deleted_ends_once_another_holds_it() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    let mut successor = waiting(&mut fabric).await?;
    // A deleted file is made anew by whoever looks first: by the successor, while the other does not look.
    fabric.cache.process.pause()?;
    fs::remove_file(fabric.directory().join("data").join("accord-cache.lock"))?;
    successor.wait_serving().await?;
    fabric.cache.process.resume()?;
    let ended = "was deleted under this cache, and another cache process holds it anew";
    fabric.cache.process.await_log(Duration::from_secs(20), |log| log.contains(ended)).await?;
    successor.process.check()
}

async fn waiting(fabric: &mut Fabric) -> Result<Server> {
    let successor = fabric.another(Part::Cache)?;
    says_that_it_waits(&successor).await?;
    Ok(successor)
}

async fn says_that_it_waits(successor: &Server) -> Result<()> {
    successor.process.await_log(Duration::from_secs(20), |log| log.contains(WAITS)).await
}
