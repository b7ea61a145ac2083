//! The metrics that there are: whatever the binaries show under traffic is declared, and so in the guide.

use accord_fabric::{EDITOR, Fabric, READER, http::HttpCall};
use anyhow::{Result, ensure};
use http::Method;
use serde_json::json;

/// Calls of every protocol's usual kinds: reads and writes, refused and failed ones, to each of the binaries.
async fn traffic(fabric: &Fabric) -> Result<()> {
    let (editor, reader) = (fabric.token(EDITOR).await?, fabric.token(READER).await?);
    let price = json!({ "currency": "EUR", "minorUnits": "45900" });
    let desk = json!({ "id": "oak-desk", "title": "Oak desk", "price": price });
    let create = fabric.call(Method::POST, "/v1/products").token(&editor).header("idempotency-key", "declared");
    ensure!(create.json(&desk).send().await?.status == 200);
    for _ in 0..3 {
        ensure!(fabric.get("/v1/products/oak-desk").token(&reader).send().await?.status == 200);
    }
    for path in ["/v1/products/none", "/v1/nothing", "/v1/products/oak-desk?no=such"] {
        ensure!(fabric.get(path).token(&reader).send().await?.status.is_client_error(), "{path}");
    }
    ensure!(fabric.get("/v1/products/oak-desk").send().await?.status == 401);
    ensure!(fabric.get("/v1/products/oak-desk").token("no token").send().await?.status == 401);
    let mut direct = fabric.products(&reader)?;
    let read = direct.get_product(accord_api::catalog::v1::GetProductRequest { id: "oak-desk".to_owned() });
    ensure!(read.await.is_ok());
    Ok(())
}

#[tokio::test]
async fn series_under_traffic_have_declared_names_labels_and_values() -> Result<()> {
    let fabric = Fabric::builder()?.orders().start().await?;
    traffic(&fabric).await?;
    for server in [&fabric.gateway, &fabric.auth, &fabric.cache, &fabric.catalog] {
        // Whatever is scraped is held against what is declared.
        let text = server.metrics().await?;
        ensure!(text.lines().any(|line| line.starts_with("accord_build_info{")), "{text}");
    }
    let scraped = HttpCall::new(fabric.gateway.admin, Method::GET, "/metrics").send().await?.text();
    let shown = [
        "accord_gateway_cache_reads_total{",
        "accord_gateway_faults_total{",
        "accord_upstream_duration_seconds_bucket{",
    ];
    for name in shown {
        ensure!(scraped.contains(name), "{name} is not shown: the traffic is not what it was");
    }
    fabric.stop().await
}
