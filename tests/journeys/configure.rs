//! Configuration files beside those of the fabric, as `cargo xtask up --config` gives them; and files that change under load.

use crate::{load::under_load, tls::replace};
use accord_fabric::{Fabric, Part, READER, http::HttpCall};
use anyhow::{Result, ensure};
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
    let calls = fabric.gateway.metric("accord_budget_limit", &[("budget", "calls")]).await?;
    change_under_load(&mut fabric, "[limits]\nmax_in_flight = 1\n", "restart_needed").await?;
    let log = fabric.gateway.process.log();
    assert!(log.contains("these keys changed and take a restart") && log.contains("limits.max_in_flight"), "{log}");
    let now = fabric.gateway.metric("accord_budget_limit", &[("budget", "calls")]).await?;
    assert!((now - calls).abs() < 0.5, "{now}");
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
