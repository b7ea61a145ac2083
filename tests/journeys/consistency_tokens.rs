//! Consistency tokens: what a write or a read says in `x-accord-consistency-token`, and later reads pass on.

use crate::near::{MOST_READS, Mesh, PRODUCT};
use accord_fabric::{http::HttpCall, http::HttpResponse};
use anyhow::{Context, Result, bail, ensure};
use http::Method;
use std::net::SocketAddr;

const PASS: &str = "x-accord-at-least-as-fresh";
const TOKEN: &str = "x-accord-consistency-token";

impl Mesh {
    async fn read_with(&self, gateway: SocketAddr, passed: &[&str]) -> Result<HttpResponse> {
        let call = HttpCall::new(gateway, Method::GET, PRODUCT).token(&self.token);
        passed.iter().fold(call, |call, passed| call.header(PASS, passed)).send().await
    }
}

fn told(answer: &HttpResponse) -> Result<String> {
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
    Ok(answer.header(TOKEN).context("no token")?.to_owned())
}

fn status(answer: &HttpResponse) -> Result<&str> {
    answer.header("cache-status").context("no cache-status")
}

#[tokio::test]
async fn read_with_the_token_of_a_bounded_write_sees_it_at_every_gateway() -> Result<()> {
    let mesh = Mesh::start("tests/journeys/near_bounded.toml").await?;
    for round in 0..5 {
        // So that the other gateway is likely to have a copy when it is asked.
        for _ in 0..5 {
            mesh.read_with(mesh.other.listen, &[]).await?;
        }
        let title = format!("Oak desk {round}");
        let put = mesh.write(mesh.fabric.gateway.listen, &title).await?;
        assert_eq!(put.header("x-accord-invalidation"), Some("BOUNDED"));
        let seen = mesh.read_with(mesh.other.listen, &[&told(&put)?]).await?;
        assert_eq!(seen.json()?["title"], *title, "{:?}", seen.header("cache-status"));
    }
    mesh.fabric.stop().await
}

#[tokio::test]
async fn token_of_a_deferred_write_takes_reads_past_what_it_did_not_invalidate() -> Result<()> {
    let mesh = Mesh::start("tests/journeys/near.toml").await?;
    mesh.read_with(mesh.other.listen, &[]).await?;
    // Hung and not ended: what it holds is there when it goes on.
    mesh.fabric.cache.process.pause()?;
    let put = mesh.write(mesh.fabric.gateway.listen, "Ash desk").await?;
    assert_eq!(put.header("x-accord-invalidation"), Some("DEFERRED"));
    mesh.fabric.cache.process.resume()?;
    let seen = mesh.read_with(mesh.other.listen, &[&told(&put)?]).await?;
    assert_eq!(seen.json()?["title"], "Ash desk", "{:?}", seen.header("cache-status"));
    mesh.fabric.stop().await
}

#[tokio::test]
async fn read_with_its_own_token_is_a_hit_near_and_far() -> Result<()> {
    let mesh = Mesh::start("tests/journeys/near.toml").await?;
    let gateway = mesh.fabric.gateway.listen;
    // Once the cache knows this gateway.
    let mut answer = mesh.read_with(gateway, &[]).await?;
    while !status(&answer)?.contains("; hit") {
        answer = mesh.read_with(gateway, &[]).await?;
    }
    for _ in 0..MOST_READS {
        answer = mesh.read_with(gateway, &[&told(&answer)?]).await?;
        ensure!(status(&answer)?.contains("; hit"), "{}", status(&answer)?);
        if status(&answer)?.starts_with("accord-near; hit") {
            return mesh.fabric.stop().await;
        }
    }
    bail!("no read of {MOST_READS} was answered near")
}

#[tokio::test]
async fn token_that_was_changed_is_refused_with_its_reason() -> Result<()> {
    let mesh = Mesh::start("tests/journeys/near.toml").await?;
    let gateway = mesh.fabric.gateway.listen;
    let good = told(&mesh.read_with(gateway, &[]).await?)?;
    let changed = format!("{}AAAA", &good[..good.len() - 4]);
    for passed in [&[&*changed][..], &["nonsense"], &["%"], &[&good, &changed], &[&*format!("{good}, {changed}")]] {
        let refused = mesh.read_with(gateway, passed).await?;
        assert_eq!(refused.status, 400, "{passed:?}: {}", refused.text());
        assert!(refused.text().contains("CONSISTENCY_TOKEN_INVALID"), "{}", refused.text());
    }
    mesh.fabric.stop().await
}

#[tokio::test]
async fn token_of_a_cache_that_is_gone_is_a_load_once() -> Result<()> {
    let mut mesh = Mesh::start("tests/journeys/near.toml").await?;
    let gateway = mesh.fabric.gateway.listen;
    let before = told(&mesh.read_with(gateway, &[]).await?)?;
    mesh.fabric.cache.process.restart()?;
    mesh.fabric.cache.wait_serving().await?;
    // Once its answers are kept again, and by a gateway that it knows.
    while !status(&mesh.read_with(gateway, &[]).await?)?.contains("; hit") {}
    let loaded = mesh.read_with(gateway, &[&before]).await?;
    ensure!(status(&loaded)?.contains("fwd=stale"), "{}", status(&loaded)?);
    let stored = mesh.read_with(gateway, &[&told(&loaded)?]).await?;
    ensure!(status(&stored)?.contains("; hit"), "{}", status(&stored)?);
    mesh.fabric.stop().await
}

#[tokio::test]
async fn read_past_a_cache_that_is_gone_has_the_token_of_a_load() -> Result<()> {
    let mut mesh = Mesh::start("tests/journeys/near.toml").await?;
    let gateway = mesh.fabric.gateway.listen;
    mesh.fabric.cache.process.kill()?;
    let past = mesh.read_with(gateway, &[]).await?;
    assert_eq!(status(&past)?, "accord; fwd=bypass");
    assert_eq!(told(&past)?, "AA");
    mesh.fabric.stop().await
}

#[tokio::test]
async fn cached_read_that_finds_nothing_has_a_token() -> Result<()> {
    let mesh = Mesh::start("tests/journeys/near.toml").await?;
    let missing = HttpCall::new(mesh.fabric.gateway.listen, Method::GET, "/v1/products/nothing").token(&mesh.token);
    let missing = missing.send().await?;
    assert!(missing.status == 404 && missing.header(TOKEN).is_some(), "{:?}", missing.header(TOKEN));
    mesh.fabric.stop().await
}
