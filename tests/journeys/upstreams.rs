//! Upstreams that are added, moved, changed and removed while callers call: what changed holds from the next call on, calls in flight
//! end where they began, and nothing else is touched.

use crate::{
    load::under_load,
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{GrpcCall, word},
};
use accord_fabric::{Fabric, Part, Port, READER, certificates::replace, http::HttpCall};
use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::json;
use std::{fs, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{sync::Notify, time::timeout};
use toml::{Table, Value, toml};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

const SAY: &str = "/echo.v1.EchoService/Say";
const CATALOG: &str = "catalog.v1.ProductService";

/// The longest that a change may take to show.
const BOUND: Duration = Duration::from_secs(20);

/// A word as gRPC and as JSON.
async fn say(gateway: SocketAddr) -> Result<()> {
    let said = GrpcCall::to(gateway, SAY).body(word("word")).send().await?.ok()?;
    ensure!(said == word("word"), "{said:?}");
    let call = HttpCall::new(gateway, Method::POST, SAY).json(&json!({ "text": "word" })).send().await?;
    ensure!(call.status == 200, "{call:?}");
    Ok(())
}

/// A scripted upstream behind a gateway that needs one connection for calls, and one for what it asks itself. The cache, which has
/// upstreams of its own, has none.
async fn start() -> Result<(ScriptedUpstream, Fabric)> {
    let echo = ScriptedUpstream::start().await?;
    let builder = echo.behind()?.settings(Part::Gateway, toml! { workers = 1 });
    let builder = builder.settings(Part::Cache, toml! { upstream = [] });
    let fabric = builder.upstream_settings("echo", toml! { connections = 1 max_connections = 1 }).start().await?;
    say(fabric.gateway.listen).await?;
    Ok((echo, fabric))
}

/// Products as JSON; those that need a token.
async fn list(address: SocketAddr, token: &str) -> Result<u16> {
    Ok(HttpCall::new(address, Method::GET, "/v1/products").token(token).send().await?.status.as_u16())
}

/// Changes the gateway's configuration.
fn configure(fabric: &Fabric, change: impl FnOnce(&mut Table)) -> Result<()> {
    let file = fabric.config(Part::Gateway);
    let mut config: Table = fs::read_to_string(&file)?.parse()?;
    change(&mut config);
    replace(&file, &config.to_string())
}

fn upstreams(config: &mut Table) -> &mut Vec<Value> {
    config["upstream"].as_array_mut().expect("the fabric lists them")
}

/// An upstream by its name.
fn upstream<'a>(config: &'a mut Table, name: &str) -> &'a mut Table {
    let found = upstreams(config).iter_mut().filter_map(Value::as_table_mut);
    found.into_iter().find(|upstream| upstream["name"].as_str() == Some(name)).expect("the fabric has it")
}

/// Changes the configuration while callers say words, until changes were taken over so many times.
async fn change_under_load(fabric: &mut Fabric, changes: u32, change: impl FnOnce(&mut Table)) -> Result<()> {
    let gateway = fabric.gateway.listen;
    under_load(|| say(gateway), async {
        configure(fabric, change)?;
        await_changes(fabric, "replaced", changes).await
    })
    .await
}

/// Waits until so many changes were taken over, or refused.
async fn await_changes(fabric: &mut Fabric, outcome: &str, changes: u32) -> Result<()> {
    let labels = [("kind", "configuration"), ("outcome", outcome)];
    let wanted = |count: f64| count + 0.5 > f64::from(changes);
    fabric.gateway.await_metric("accord_files_reloads_total", &labels, wanted).await.map(drop)
}

/// Which of these figures the gateway shows of an upstream.
async fn shown(fabric: &Fabric, upstream: &str) -> Result<Vec<&'static str>> {
    let names = [
        "accord_upstream_attempts_total",
        "accord_upstream_endpoints",
        "accord_upstream_in_flight",
        "accord_upstream_in_flight_limit",
        "accord_upstream_waiting_limit",
    ];
    let (metrics, label) = (fabric.gateway.metrics().await?, format!("upstream=\"{upstream}\""));
    let is_shown = |name: &&str| {
        let mut series = metrics.lines().filter_map(|line| line.strip_prefix(*name));
        series.any(|labels| labels.starts_with('{') && labels.contains(&label))
    };
    Ok(names.into_iter().filter(is_shown).collect())
}

async fn most_in_flight(fabric: &Fabric, upstream: &str) -> Result<f64> {
    fabric.gateway.metric("accord_upstream_in_flight_limit", &[("upstream", upstream)]).await
}

async fn health(fabric: &Fabric, service: &str) -> Result<Result<ServingStatus, Code>> {
    let question = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(fabric.gateway.channel()?).check(question).await;
    Ok(answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code()))
}

async fn await_health(fabric: &Fabric, service: &str, wanted: Result<ServingStatus, Code>) -> Result<()> {
    let told = async {
        while health(fabric, service).await? != wanted {}
        anyhow::Ok(())
    };
    timeout(BOUND, told).await.with_context(|| format!("{service} is not told to be {wanted:?}"))?
}

#[tokio::test]
async fn upstream_removed_and_added_again_under_load_leaves_the_others_connected() -> Result<()> {
    let (echo, mut fabric) = start().await?;
    let (token, address, connections) = (fabric.token(READER).await?, fabric.gateway.listen, echo.connections_made());
    assert_eq!(list(address, &token).await?, 200);
    assert_eq!(shown(&fabric, "catalog").await?.len(), 5);
    let mut catalog = None;
    change_under_load(&mut fabric, 1, |config| {
        let place = upstreams(config).iter().position(|upstream| upstream["name"].as_str() == Some("catalog"));
        catalog = place.map(|place| upstreams(config).remove(place));
    })
    .await?;
    assert_eq!(list(address, &token).await?, 404);
    await_health(&fabric, CATALOG, Err(Code::NotFound)).await?;
    assert_eq!(shown(&fabric, "catalog").await?, ["accord_upstream_attempts_total"]);

    let catalog = catalog.context("the catalog was one of them")?;
    change_under_load(&mut fabric, 2, |config| upstreams(config).push(catalog)).await?;
    assert_eq!(list(address, &token).await?, 200);
    await_health(&fabric, CATALOG, Ok(ServingStatus::Serving)).await?;
    assert!(most_in_flight(&fabric, "catalog").await? > 1.0);
    assert_eq!(echo.connections_made(), connections);
    fabric.stop().await
}

#[tokio::test]
async fn endpoints_that_move_under_load_lose_no_call_and_those_left_are_let_go_after_their_last() -> Result<()> {
    let (first, mut fabric) = start().await?;
    let (second, gateway, received) = (ScriptedUpstream::start().await?, fabric.gateway.listen, first.calls_received());
    let end = Arc::new(Notify::new());
    first.script([Reply::ok(&word("late")).after(&end)]);
    let in_flight = tokio::spawn(GrpcCall::to(gateway, SAY).body(word("word")).send());
    first.wait_received(received + 1).await?;
    let urls = Value::Array(vec![second.url().into()]);
    change_under_load(&mut fabric, 1, |config| upstream(config, "echo")["urls"] = urls).await?;
    let received = first.calls_received();
    say(gateway).await?;
    assert!(second.calls_received() >= 2);
    assert_eq!(first.calls_received(), received);
    end.notify_one();
    assert_eq!(in_flight.await??.ok()?, word("late"));
    first.wait_disconnected().await?;
    fabric.stop().await
}

#[tokio::test]
async fn version_that_is_added_under_load_gets_its_calls_and_nobody_connects_anew() -> Result<()> {
    let (own, mut fabric) = start().await?;
    let (canary, connections) = (ScriptedUpstream::start().await?, own.connections_made());
    let url = canary.url();
    let version = toml! {
        name = "canary"
        urls = [url]
        match = { x-canary = "1" }
    };
    change_under_load(&mut fabric, 1, |config| {
        let echo = upstream(config, "echo");
        echo.insert("max_in_flight".to_owned(), 77.into());
        echo.insert("version".to_owned(), Value::Array(vec![version.into()]));
    })
    .await?;
    GrpcCall::new(&fabric, "Say", "word").header("x-canary", "1").send().await?.ok()?;
    assert_eq!(canary.calls_received(), 1);
    say(fabric.gateway.listen).await?;
    assert_eq!(own.connections_made(), connections);
    assert!((most_in_flight(&fabric, "echo").await? - 77.0).abs() < 0.5);
    fabric.stop().await
}

#[tokio::test]
async fn configuration_with_an_upstream_that_is_not_there_holds_in_no_part_until_it_is() -> Result<()> {
    let (_echo, mut fabric) = start().await?;
    let (token, gateway) = (fabric.token(READER).await?, fabric.gateway.listen);
    let reserved = Port::reserve()?;
    let absent = reserved.address();
    under_load(|| say(gateway), async {
        configure(&fabric, |config| {
            config.insert("limits".to_owned(), toml! { max_in_flight = 77 }.into());
            upstream(config, "echo")["urls"] = Value::Array(vec![format!("http://{absent}").into()]);
        })?;
        await_changes(&mut fabric, "refused", 1).await
    })
    .await?;
    let log = fabric.gateway.process.log();
    assert!(log.lines().any(|line| line.contains("reload refused") && line.contains("upstream echo")), "{log}");
    let limit = [("budget", "calls")];
    assert!(fabric.gateway.metric("accord_budget_limit", &limit).await? > 77.5);
    assert_eq!(list(gateway, &token).await?, 200);

    let echo = ScriptedUpstream::start_at(absent).await?;
    under_load(|| say(gateway), await_changes(&mut fabric, "replaced", 1)).await?;
    assert!((fabric.gateway.metric("accord_budget_limit", &limit).await? - 77.0).abs() < 0.5);
    say(gateway).await?;
    assert!(echo.calls_received() >= 2);
    fabric.stop().await
}
