//! Two cache processes with data directories of their own behind one name, as by a service that shares connections out: a mistake
//! that no lock prevents.

use crate::{stock, until_at};
use accord_fabric::{EDITOR, Fabric, Part, Server, TcpProxy, http::HttpCall, http::HttpResponse};
use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::json;
use std::{fs, time::Duration};
use tokio::time::timeout;
use toml::toml;

const PRODUCT: &str = "/v1/products/oak-desk";
/// Within it two caches are seen, and one alone is believed to be alone.
const SOON: Duration = Duration::from_secs(20);
/// Writes, and reads, in a row.
const SOME: usize = 10;

/// A gateway that has seen two caches.
struct Mesh {
    fabric: Fabric,
    second: Server,
    gateway: Server,
    /// It shares connections out.
    name: TcpProxy,
    token: String,
}

impl Mesh {
    async fn start() -> Result<Self> {
        let mut fabric = Fabric::builder()?.overlay("tests/journeys/near.toml").start().await?;
        stock(&fabric).await?;
        let token = fabric.token(EDITOR).await?;
        let directory = fabric.directory().join("data-of-the-second");
        fs::create_dir(&directory)?;
        let directory = directory.display().to_string();
        let mut second = fabric.another_with(Part::Cache, toml! { data_dir = directory })?;
        second.wait_serving().await?;
        let name = TcpProxy::start(vec![fabric.cache.listen, second.listen]).await?;
        let url = format!("http://{}", name.address());
        let cache = toml! {
            [cache]
            url = url
        };
        let mut gateway = fabric.another_with(Part::Gateway, cache)?;
        gateway.wait_serving().await?;
        let mesh = Self { fabric, second, gateway, name, token };
        timeout(SOON, mesh.sees_two()).await.context("two caches are not seen")??;
        Ok(mesh)
    }

    /// Until the gateway has seen both. Where all connections of its reads happen to lead to one of them, it makes others.
    async fn sees_two(&self) -> Result<()> {
        loop {
            for _ in 0..SOME {
                if self.reads().await?.iter().any(is_loaded) {
                    return Ok(());
                }
            }
            self.name.reset();
        }
    }

    /// Some reads at a time, so that they take several connections.
    async fn reads(&self) -> Result<[HttpResponse; 4]> {
        let read = || HttpCall::new(self.gateway.listen, Method::GET, PRODUCT).token(&self.token).send();
        Ok(tokio::try_join!(read(), read(), read(), read())?.into())
    }
}

fn is_loaded(answer: &HttpResponse) -> bool {
    source(answer).starts_with("accord; fwd=request")
}

fn source(answer: &HttpResponse) -> &str {
    answer.header("cache-status").unwrap_or_default()
}

#[tokio::test]
async fn gateway_that_sees_two_caches_behind_one_name_says_so_once_and_has_reads_loaded() -> Result<()> {
    let mesh = Mesh::start().await?;
    for _ in 0..SOME {
        for answer in mesh.reads().await? {
            ensure!(is_loaded(&answer), "{}", source(&answer));
        }
    }
    let seen = mesh.gateway.metric("accord_gateway_near_two_caches_total", &[]).await?;
    ensure!(seen >= 1.0, "counted {seen} times");
    let log = mesh.gateway.process.log();
    let said =
        log.lines().filter(|line| line.contains("two cache processes answer behind the one name of `cache.url`"));
    let said: Vec<_> = said.collect();
    ensure!(said.len() == 1 && said[0].contains("ERROR"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn read_after_acknowledged_write_sees_it_while_two_caches_are_behind_one_name() -> Result<()> {
    let mesh = Mesh::start().await?;
    for round in 0..SOME {
        let title = format!("Oak desk {round}");
        let call = HttpCall::new(mesh.gateway.listen, Method::PUT, PRODUCT).token(&mesh.token);
        let put = call.json(&json!({ "id": "oak-desk", "title": title })).send().await?;
        ensure!(put.status == 200, "{}", put.text());
        for answer in mesh.reads().await? {
            ensure!(answer.json()?["title"] == *title, "after {title}: {} {}", source(&answer), answer.text());
        }
    }
    Ok(())
}

#[tokio::test]
async fn gateway_answers_from_memory_again_once_one_of_two_caches_is_left() -> Result<()> {
    let mut mesh = Mesh::start().await?;
    mesh.second.process.kill()?;
    mesh.name.move_to(mesh.fabric.cache.listen);
    let is_near = |answer: &HttpResponse| source(answer).starts_with("accord-near; hit");
    until_at(mesh.gateway.listen, &mesh.token, SOON, is_near).await.context("one cache is left")?;
    Ok(())
}
