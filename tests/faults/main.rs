//! What happens when a part of the mesh is down, slow or gone.

mod auth;
mod auth_crashes;
mod cache;
mod cache_memory;
mod cache_rollover;
mod checker;
mod coherence;
mod revocation_bound;
mod setup;
mod two_caches;
mod upstream;

use accord_fabric::{EDITOR, Fabric, http::HttpCall, http::HttpResponse};
use anyhow::Result;
use serde_json::json;

/// Puts one product into the catalog through the gateway.
pub async fn stock(fabric: &Fabric) -> Result<()> {
    let token = fabric.token(EDITOR).await?;
    let call = fabric.call(http::Method::POST, "/v1/products").token(&token).header("idempotency-key", "stock");
    let answer = call.json(&json!({ "id": "oak-desk", "title": "Oak desk" })).send().await?;
    anyhow::ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
    Ok(())
}

/// Asks until the answer is the wished one, within the time that the promise gives.
pub async fn until(
    fabric: &Fabric,
    token: &str,
    within: std::time::Duration,
    wished: impl Fn(&HttpResponse) -> bool,
) -> Result<HttpResponse> {
    until_at(fabric.gateway.listen, token, within, wished).await
}

/// The same of another gateway.
pub async fn until_at(
    gateway: std::net::SocketAddr,
    token: &str,
    within: std::time::Duration,
    wished: impl Fn(&HttpResponse) -> bool,
) -> Result<HttpResponse> {
    let end = tokio::time::Instant::now() + within;
    loop {
        let answer = HttpCall::new(gateway, http::Method::GET, "/v1/products/oak-desk").token(token).send().await?;
        if wished(&answer) {
            return Ok(answer);
        }
        anyhow::ensure!(tokio::time::Instant::now() < end, "still {}: {}", answer.status, answer.text());
    }
}
