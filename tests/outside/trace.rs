//! One trace through the gateway, orders, the gateway again, cache and catalog, as a real collector receives it.

use crate::tool;
use accord_fabric::{EDITOR, Fabric, Launch, Process};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::{
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn trace_goes_through_every_binary() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("rotel.log");
    let endpoint = free_address()?;
    let http = free_address()?;
    let arguments =
        ["start", "--exporter", "blackhole", "--disable-batching", "--debug-log", "traces", "--debug-log", "metrics"];
    let more = ["--debug-log-verbosity", "detailed", "--otlp-grpc-endpoint", &endpoint, "--otlp-http-endpoint", &http];
    let collector = Process::start(Launch {
        name: "rotel".into(),
        program: tool("ACCORD_TEST_ROTEL")?.into(),
        arguments: arguments.iter().chain(&more).map(Into::into).collect(),
        environment: Vec::new(),
        log,
    })?;

    let fabric = Fabric::builder()?.orders().otlp(&format!("http://{endpoint}")).start().await?;
    let token = fabric.token(EDITOR).await?;
    let price = json!({ "currency": "EUR", "minorUnits": "45900" });
    let desk = json!({ "id": "oak-desk", "title": "Oak desk", "price": price });
    let call = fabric.call(http::Method::POST, "/v1/products").token(&token).header("idempotency-key", "trace");
    ensure!(call.json(&desk).send().await?.status == 200);
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let add = fabric.call(http::Method::POST, "/v1/basket/items").token(&token).header("traceparent", &parent);
    let added = add.json(&json!({ "productId": "oak-desk", "quantity": 1 })).send().await?;
    ensure!(added.status == 200, "{}", added.text());

    let wanted = ["accord-gateway", "accord-orders", "accord-cache", "accord-catalog"];
    let all = |log: &str| wanted.iter().all(|service| traced(log, service)) && log.contains("rpc.server.call.duration");
    collector.await_log(Duration::from_secs(20), all).await?;
    fabric.stop().await
}

/// Whether the log has a span of the trace under the resource of this service.
fn traced(log: &str, service: &str) -> bool {
    let resources = log.split("ResourceSpans").skip(1);
    resources.filter(|resource| resource.contains(service)).any(|resource| resource.contains(TRACE))
}

fn free_address() -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.to_string())
}
