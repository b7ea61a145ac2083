//! One trace through the gateway, orders, the gateway again, cache and catalog, as a real collector receives it.

use crate::tool;
use accord_fabric::{EDITOR, Fabric, Launch, Process};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::{
    collections::BTreeSet,
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

    // The gateway is met twice: at the door, and at the internal listener, where orders calls with a span of its own.
    let hops = [
        ("accord-gateway", "accord-orders"),
        ("accord-orders", "accord-gateway"),
        ("accord-gateway", "accord-cache"),
        ("accord-cache", "accord-catalog"),
    ];
    let all = |log: &str| {
        hops.iter().all(|(outer, inner)| calls(log, outer, inner)) && log.contains("rpc.server.call.duration")
    };
    collector.await_log(Duration::from_secs(20), all).await?;
    fabric.stop().await
}

/// Whether the log has a span of the inner service whose parent is a span of the outer one, in the trace.
fn calls(log: &str, outer: &str, inner: &str) -> bool {
    let spans = of_spans(log, outer, "ID");
    of_spans(log, inner, "Parent ID").iter().any(|parent| spans.contains(parent))
}

/// A field of all spans of the trace under the resources of a service.
fn of_spans<'a>(log: &'a str, service: &str, field: &str) -> BTreeSet<&'a str> {
    // Metrics, of whatever service, may follow the spans.
    let is_of = |resource: &&str| resource.split("ScopeSpans").next().is_some_and(|head| head.contains(service));
    let resources = log.split("ResourceSpans").skip(1).filter(is_of);
    let spans = resources.flat_map(|resource| resource.split("Span #").skip(1)).filter(|span| span.contains(TRACE));
    let lines = spans.flat_map(str::lines).filter_map(|line| line.split_once(':'));
    lines.filter(|(name, _)| name.trim() == field).map(|(_, value)| value.trim()).collect()
}

fn free_address() -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.to_string())
}
