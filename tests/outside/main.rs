//! Services that Accord never met, and clients nobody here wrote: gRPC for Go, Node and Python, the own
//! libraries of Connect and gRPC-Web, ws for Node, clients of OAuth, Chromium, buf, a real OTLP collector, a Redis, Envoy,
//! nginx and Traefik; and a clock that is wrong.
//!
//! The tools come from the environment that `cargo xtask test` prepares; without them these tests fail.

mod browser;
mod buf;
mod clocks;
mod console;
mod contract;
mod deadline;
mod go;
mod namespaces;
mod never_met;
mod oauth;
mod openapi;
mod orders;
mod passports;
mod proxies;
mod python;
mod relays;
mod shared_limits;
mod shared_limits_on_cluster;
mod trace;
mod web;

pub use accord_fabric::tool::{output, tool};
use accord_fabric::{EDITOR, Fabric, Part};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// A fabric with the echo service behind its gateway: by flags and an overlay alone, as anybody's service would be put there.
pub async fn with_echo() -> Result<Fabric> {
    with_echo_under(toml::Table::new()).await
}

/// The same with settings of the gateway's.
pub async fn with_echo_under(settings: toml::Table) -> Result<Fabric> {
    let builder = Fabric::builder()?.script("echo", "tests/clients/echo_server.py")?;
    builder.settings(Part::Gateway, settings).overlay("tests/clients/overlay.toml").start().await
}

/// What the echo service has seen so far.
pub async fn journal(fabric: &Fabric) -> Result<Vec<Value>> {
    let token = fabric.token(EDITOR).await?;
    let call = fabric.call(http::Method::POST, "/v1/journal").token(&token);
    let answer = call.json(&json!({})).send().await?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
    Ok(answer.json()?["entries"].as_array().cloned().unwrap_or_default())
}

/// An entry's number: int64 is a string in JSON.
pub fn number(entry: &Value, field: &str) -> i64 {
    entry[field].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}
