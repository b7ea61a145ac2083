//! What a gateway that was set up wrongly says of it, before it answers anybody.

use accord_fabric::{Fabric, Launch, Process, binaries};
use anyhow::Result;
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(20);

/// A gateway beside the fabric's own, with these arguments and a secret that nobody gave it.
fn gateway(fabric: &Fabric, arguments: &[&str]) -> Result<Process> {
    let secret = fabric.directory().join("wrong.secret");
    std::fs::write(&secret, "x".repeat(43))?;
    let common = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--client-id", "gateway"];
    let secret = ["--client-secret-file", secret.to_str().unwrap_or_default()];
    Process::start(Launch {
        name: "gateway".to_owned(),
        program: binaries::path("accord-gateway")?,
        arguments: common.iter().chain(&secret).chain(arguments).map(Into::into).collect(),
        environment: Vec::new(),
        log: fabric.directory().join("setup.log"),
    })
}

#[tokio::test]
async fn gateway_with_another_secret_than_auth_knows_says_so() -> Result<()> {
    let fabric = Fabric::start().await?;
    let gateway = gateway(&fabric, &["--auth", &fabric.auth.url()])?;
    let said = |log: &str| log.contains("auth does not accept this binary's client id and secret");
    gateway.await_log(BOUND, said).await?;
    drop(gateway);
    fabric.stop().await
}

#[tokio::test]
async fn gateway_that_takes_another_server_for_auth_says_so() -> Result<()> {
    let fabric = Fabric::start().await?;
    let gateway = gateway(&fabric, &["--auth", &fabric.cache.url()])?;
    let said = |log: &str| log.contains("what answers there is not auth: give `auth.url` the address");
    gateway.await_log(BOUND, said).await?;
    drop(gateway);
    fabric.stop().await
}

#[tokio::test]
async fn gateway_says_what_it_found_when_it_listens() -> Result<()> {
    let fabric = Fabric::start().await?;
    let catalog = format!("catalog={}", fabric.catalog.url());
    let gateway = gateway(&fabric, &["--auth", &fabric.auth.url(), "--upstream", &catalog])?;
    let found = |line: &str| {
        let all = ["listening", "upstreams=1", "methods=5", "bindings=", "denied=0", "pending=0"];
        all.iter().all(|word| line.contains(word))
    };
    gateway.await_log(BOUND, |log| log.lines().any(found)).await?;
    drop(gateway);
    fabric.stop().await
}
