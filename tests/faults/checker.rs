//! The live checker of the cache, on all binaries: what is changed behind Accord's back is found, and what goes through it is not.

use crate::stock;
use accord_fabric::{EDITOR, Fabric, Part};
use anyhow::{Result, ensure};
use http::Method;
use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use toml::toml;

const PRODUCT: &str = "/v1/products/oak-desk";
const SUPERSEDED: &str = "accord_cache_superseded_before_read_total";
const CHECKS: &str = "accord_cache_checks_total";

/// A fabric that compares every hit, and a token of somebody who may write.
async fn begin() -> Result<(Fabric, String)> {
    let checker = toml! {
        [checker]
        share = 1.0
        settle = "10ms"
    };
    let fabric = Fabric::builder()?.settings(Part::Cache, checker).start().await?;
    let token = fabric.token(EDITOR).await?;
    stock(&fabric).await?;
    Ok((fabric, token))
}

/// Reads until a comparison has come to this result.
async fn read_until(fabric: &mut Fabric, token: &str, result: &str) -> Result<()> {
    let labels = [("result", result)];
    let before = fabric.cache.metric(CHECKS, &labels).await?;
    while fabric.cache.metric(CHECKS, &labels).await? <= before {
        let read = fabric.get(PRODUCT).token(token).send().await?;
        ensure!(read.status == 200, "{}", read.text());
    }
    Ok(())
}

#[tokio::test]
async fn hits_after_writes_through_accord_are_never_superseded() -> Result<()> {
    let (mut fabric, token) = begin().await?;
    for number in 0..5 {
        let title = json!({ "id": "oak-desk", "title": format!("Oak desk {number}") });
        let write = fabric.call(Method::PUT, PRODUCT).token(&token).json(&title).send().await?;
        ensure!(write.status == 200, "{}", write.text());
        read_until(&mut fabric, &token, "same").await?;
    }
    ensure!(fabric.cache.metric(SUPERSEDED, &[]).await? == 0.0, "{}", fabric.cache.metrics().await?);
    Ok(())
}

#[tokio::test]
async fn hit_after_a_change_behind_accords_back_is_superseded() -> Result<()> {
    let (mut fabric, token) = begin().await?;
    read_until(&mut fabric, &token, "same").await?;
    let products = fabric.directory().join("data/catalog.db");
    let mut database = SqliteConnection::connect(&format!("sqlite://{}", products.display())).await?;
    sqlx::query("UPDATE products SET version = version + 1").execute(&mut database).await?;
    read_until(&mut fabric, &token, "superseded").await?;
    let by_method = [("rpc_method", "catalog.v1.ProductService/GetProduct")];
    ensure!(fabric.cache.metric(SUPERSEDED, &by_method).await? >= 1.0, "{}", fabric.cache.metrics().await?);
    Ok(())
}
