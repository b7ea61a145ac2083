//! Configuration files beside those of the fabric, as `cargo xtask up --config` gives them; and files that change under load.

use crate::{create, load::under_load, scripted_upstream::ScriptedUpstream, wire::GrpcCall};
use accord_fabric::{Fabric, Part, READER, certificates::replace, http::HttpCall};
use anyhow::{Context, Result, ensure};
use http::Method;
use std::{fs, net::SocketAddr, time::Duration};
use tokio::{io::AsyncWriteExt, net::TcpStream};

const SECONDS: Duration = Duration::from_secs(20);

/// Adds lines to the gateway's configuration while callers call, and waits until this has come of it.
async fn change_under_load(fabric: &mut Fabric, lines: &str, outcome: &str) -> Result<()> {
    let (token, address, file) = (fabric.token(READER).await?, fabric.gateway.listen, fabric.config(Part::Gateway));
    let changed = format!("{}{lines}", fs::read_to_string(&file)?);
    let labels = [("kind", "configuration"), ("outcome", outcome)];
    under_load(|| list(address, &token), async {
        replace(&file, &changed)?;
        fabric.gateway.await_metric("accord_files_reloads_total", &labels, |count| count > 0.0).await.map(drop)
    })
    .await
}

async fn list(address: SocketAddr, token: &str) -> Result<()> {
    let answer = HttpCall::new(address, Method::GET, "/v1/products").token(token).send().await?;
    ensure!(answer.status.is_success(), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn level_of_the_log_that_is_changed_under_load_holds_at_once() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    change_under_load(&mut fabric, "[telemetry.log]\nlevel = \"debug\"\n", "replaced").await?;
    assert!(fabric.gateway.process.log().contains("configuration reloaded"));
    // What is no HTTP ends its connection, which is worth a line of this level alone.
    TcpStream::connect(fabric.gateway.listen).await?.write_all(b"no HTTP\r\n\r\n").await?;
    fabric.gateway.process.await_log(SECONDS, |log| log.contains("DEBUG")).await?;
    fabric.stop().await
}

#[tokio::test]
async fn key_that_takes_a_restart_is_named_when_it_changes_under_load_and_what_runs_goes_on() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    let lines = "[console]\nenabled = false\n[limits]\nmax_in_flight = 77\n";
    change_under_load(&mut fabric, lines, "restart_needed").await?;
    let log = fabric.gateway.process.log();
    assert!(log.contains("these keys changed and take a restart"), "{log}");
    assert!(log.lines().any(|line| line.contains("take a restart") && line.contains("console.enabled")), "{log}");
    assert!(!log.lines().any(|line| line.contains("take a restart") && line.contains("limits")), "{log}");
    fabric.stop().await
}

#[tokio::test]
async fn endpoint_that_moves_in_the_configuration_of_the_cache_is_where_it_loads_from_then_on() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    let (token, address, file) = (fabric.token(READER).await?, fabric.gateway.listen, fabric.config(Part::Cache));
    let right = fs::read_to_string(&file)?;
    let wrong = right.replace(&fabric.catalog.url(), "http://127.0.0.1:1");
    ensure!(wrong != right, "the cache does not load from the catalog");
    let labels = [("kind", "configuration"), ("outcome", "replaced")];
    // Nobody has asked for these before.
    for (changes, text, status) in [(0.5, &wrong, 503), (1.5, &right, 404)] {
        replace(&file, text)?;
        fabric.cache.await_metric("accord_files_reloads_total", &labels, |count| count > changes).await?;
        let path = format!("/v1/products/none-{status}");
        let answer = HttpCall::new(address, Method::GET, &path).token(&token).send().await?;
        ensure!(answer.status.as_u16() == status, "{answer:?}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn what_is_told_and_compressed_changes_under_load() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    let title = "long ".repeat(30);
    assert_eq!(create(&fabric, title.trim()).await?.status, 200);
    let path = "/v1/products/oak-desk";
    let token = fabric.token(READER).await?;
    let read = fabric.get(path).token(&token).header("accept-encoding", "gzip").send().await?;
    assert_eq!(read.header("content-encoding"), None, "it is short");
    let lines = "[openapi]\ntitle = \"Another\"\n[compression]\nmin_bytes = 100\n";
    change_under_load(&mut fabric, lines, "replaced").await?;
    assert_eq!(fabric.get("/openapi.json").send().await?.json()?["info"]["title"], "Another");
    let read = fabric.get(path).token(&token).header("accept-encoding", "gzip").send().await?;
    assert_eq!(read.header("content-encoding"), Some("gzip"));
    fabric.stop().await
}

/// What a call shows of the sections that are taken over: the address that the upstream is told, whether a page may read the answer, and
/// whether it is explained.
async fn shown(fabric: &Fabric, echo: &ScriptedUpstream, token: &str) -> Result<(String, bool, bool)> {
    echo.take_received();
    let call = GrpcCall::new(fabric, "Say", "word").header("x-forwarded-for", "203.0.113.7");
    let call = call.header("authorization", &format!("Bearer {token}")).header("x-accord-explain", "1");
    let answer = call.header("origin", "https://shop.example").send().await?;
    let received = echo.take_received().pop().context("the call reached nobody")?;
    let address = received.headers["x-forwarded-for"].to_str()?.to_owned();
    let has = |name: &str| answer.head.contains_key(name);
    Ok((address, has("access-control-allow-origin"), has("x-accord-explained")))
}

#[tokio::test]
async fn sections_of_daily_life_that_change_under_load_hold_from_the_next_call_on() -> Result<()> {
    let (echo, mut fabric) = ScriptedUpstream::behind_gateway().await?;
    fabric.manage(&["principal", "add", "olga", "--role", "accord-admin"]).await?;
    let token = fabric.token("olga").await?;
    assert_eq!(shown(&fabric, &echo, &token).await?, ("127.0.0.1".to_owned(), false, true));
    let limit = fabric.gateway.metric("accord_budget_limit", &[("budget", "memory")]).await?;
    let lines = "[cors]\norigins = [\"https://shop.example\"]\n[explain]\nenabled = false\n[forwarding]\ntrusted_hops = 1\n\
                 [limits]\nmax_in_flight = 77\nmax_memory = 12345678\n";
    change_under_load(&mut fabric, lines, "replaced").await?;
    // The last of what is taken over.
    fabric
        .gateway
        .await_metric("accord_budget_limit", &[("budget", "calls")], |calls| (calls - 77.0).abs() < 0.5)
        .await?;
    for cache in ["cache", "cache.invalidation", "cache.idempotency"] {
        let most = fabric.gateway.metric("accord_upstream_in_flight_limit", &[("upstream", cache)]).await?;
        assert!((most - 77.0).abs() < 0.5, "{cache}: {most}");
    }
    let memory = fabric.gateway.metric("accord_budget_limit", &[("budget", "memory")]).await?;
    assert!((memory - 12_345_678.0).abs() < 0.5 && limit > memory, "{memory}");
    let (address, may_be_read, is_explained) = shown(&fabric, &echo, &token).await?;
    assert!(address.starts_with("203.0.113.7"), "{address}");
    assert_eq!((may_be_read, is_explained), (true, false));
    assert!(!fabric.gateway.process.log().contains("take a restart"), "{}", fabric.gateway.process.log());
    fabric.stop().await
}

#[tokio::test]
async fn configuration_that_cannot_be_used_is_refused_with_its_place_under_load_and_what_runs_goes_on() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    change_under_load(&mut fabric, "[limits]\nmax_in_flihgt = 1\n", "refused").await?;
    let log = fabric.gateway.process.log();
    assert!(log.contains("reload refused") && log.contains("gateway.toml:") && log.contains("max_in_flihgt"), "{log}");
    fabric.stop().await
}

#[tokio::test]
async fn configuration_file_given_later_is_stronger() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut builder = Fabric::builder()?;
    for (name, calls) in [("weak.toml", 70), ("strong.toml", 90)] {
        let file = directory.path().join(name);
        fs::write(&file, format!("[limits]\nmax_in_flight = {calls}\n"))?;
        builder = builder.config(Part::Gateway, file);
    }
    let fabric = builder.start().await?;
    let calls = fabric.gateway.metric("accord_budget_limit", &[("budget", "calls")]).await?;
    assert!((calls - 90.0).abs() < 0.5, "{calls}");
    fabric.stop().await
}

#[tokio::test]
async fn store_of_a_configuration_file_is_that_of_the_command_line_as_well() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (file, store) = (directory.path().join("auth.toml"), directory.path().join("other.db"));
    fs::write(&file, format!("[store]\nurl = \"sqlite://{}\"\n", store.display()))?;
    let fabric = Fabric::builder()?.config(Part::Auth, file).start().await?;
    assert!(store.exists());
    let answer = fabric.get("/v1/products").token(&fabric.token(READER).await?).send().await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    fabric.stop().await
}
