//! The sample's records, loaded as any client would load them: through the gateway, each under an idempotency key.

use accord_fabric::Fabric;
use anyhow::{Context, Result, bail};
use http::{Method, StatusCode};
use serde_json::Value;

const RECORDS: &str = include_str!("records.json");

/// Creates the records that are not there, and returns how many products the first page of a hundred holds now.
pub(crate) async fn load(fabric: &Fabric, token: &str) -> Result<usize> {
    let records: Vec<Value> = serde_json::from_str(RECORDS).context("records.json")?;
    for record in &records {
        create(fabric, token, record).await?;
    }
    let answer = fabric.get("/v1/products?page_size=100").token(token).send().await?;
    let document = answer.json()?;
    let products = document["products"].as_array();
    products.map(Vec::len).with_context(|| format!("the catalog does not list its products: {}", answer.text()))
}

async fn create(fabric: &Fabric, token: &str, record: &Value) -> Result<()> {
    let id = record["id"].as_str().context("a record has an id")?;
    let call = fabric.call(Method::POST, "/v1/products").token(token).json(record);
    let answer = call.header("idempotency-key", &format!("sample-{id}")).send().await?;
    match answer.status {
        // CONFLICT: an earlier `up` made it, longer ago than the key is remembered.
        StatusCode::OK | StatusCode::CONFLICT => Ok(()),
        status => bail!("the sample's product {id} was not accepted ({status}): {}", answer.text()),
    }
}
