//! What a contract declares of JSON: on the way through the upstream, the cache and the gateway's own memory.

use crate::{create, desk};
use accord_fabric::{EDITOR, Fabric, Part};
use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use toml::toml;

const PRODUCT: &str = "/v1/products/oak-desk?utm_source=letter&utm_medium=paper";
/// Reads until one is answered near: a tag that was invalidated a moment ago is leased to nobody for a second.
const MOST_READS: usize = 5_000;

async fn start() -> Result<(Fabric, String)> {
    let leases = toml! {
        [leases]
        max = "400ms"
    };
    let overlay = "tests/journeys/json_options.toml";
    let fabric = Fabric::builder()?.overlay(overlay).settings(Part::Cache, leases).start().await?;
    let token = fabric.token(EDITOR).await?;
    create(&fabric, "Oak desk").await?;
    Ok((fabric, token))
}

#[tokio::test]
async fn json_options_hold_from_the_upstream_the_cache_and_the_gateways_memory() -> Result<()> {
    let (fabric, token) = start().await?;
    let get = || fabric.get(PRODUCT).token(&token).send();
    let first = get().await?;
    let product: Value = serde_json::from_slice(&first.body)?;
    ensure!(product["price"] == json!({ "currency": "EUR", "minor_units": "79900" }), "{product}");
    assert_eq!((&product["availability"], &product["thumbnail"]), (&json!(1), &json!("")));
    for _ in 0..MOST_READS {
        let again = get().await?;
        assert_eq!((again.status.as_u16(), &again.body), (203, &first.body));
        let status = again.headers["cache-status"].to_str()?.to_owned();
        if status.starts_with("accord-near") {
            return fabric.stop().await;
        }
    }
    anyhow::bail!("no read was answered near")
}

#[tokio::test]
async fn answer_without_content_has_neither_body_nor_content_type() -> Result<()> {
    let (fabric, token) = start().await?;
    let put = fabric.call(Method::PUT, "/v1/products/oak-desk").token(&token).json(&desk("Oak desk 2")).send().await?;
    assert_eq!((put.status.as_u16(), put.text().as_str(), put.headers.get("content-type")), (204, "", None));
    fabric.stop().await
}

#[tokio::test]
async fn json_of_connect_stays_canonical() -> Result<()> {
    let (fabric, token) = start().await?;
    let path = "/catalog.v1.ProductService/GetProduct";
    let answer = fabric.call(Method::POST, path).token(&token).json(&json!({ "id": "oak-desk" })).send().await?;
    let product: Value = serde_json::from_slice(&answer.body).context(answer.text())?;
    assert_eq!((answer.status.as_u16(), &product["product"]["price"]["minorUnits"]), (200, &json!("79900")));
    fabric.stop().await
}
