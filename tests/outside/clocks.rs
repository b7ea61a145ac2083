//! Auth with a clock that is an hour ahead for a while: a token that is revoked meanwhile is refused everywhere, and stays so.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use accord_api::accord::auth::v1::{RevokeRequest, revoke_request::Target, token_service_client::TokenServiceClient};
use accord_fabric::{Fabric, Part, READER, http::HttpResponse};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::{Instant, interval};

use crate::{output, tool};

/// How long the mesh may take to log in again, on a loaded machine.
const RECOVERY: Duration = Duration::from_secs(30);

/// Who is let in is told that there is no such product.
const PATH: &str = "/v1/products/none";

/// How far the clock is ahead, in seconds, as libfaketime reads it.
const RIGHT: &str = "+0";
const AHEAD: &str = "+3600";

#[tokio::test]
async fn token_revoked_while_auths_clock_is_an_hour_ahead_is_refused_then_and_after_it_is_right_again() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let clock = directory.path().join("clock");
    fs::write(&clock, RIGHT)?;
    let mut fabric = with_clock(clock.to_str().context("a path")?).await?;
    let (revoked, other) = (fabric.token(READER).await?, fabric.token(READER).await?);
    for token in [&revoked, &other] {
        until(&fabric, token, 404).await?;
    }

    fs::write(&clock, AHEAD)?;
    let target = Some(Target::Token(revoked.clone()));
    TokenServiceClient::new(fabric.auth.channel()?).revoke(RevokeRequest { target }).await?;
    ensure!(revoked_at(&fabric).await? > now()? + 3000, "auth's clock is not ahead");
    is_revoked(&until(&fabric, &revoked, 401).await?)?;
    // Auth purges what has expired when it starts, and a gateway that starts asks for everything.
    restart(&mut fabric).await?;
    is_revoked(&until(&fabric, &revoked, 401).await?)?;

    fs::write(&clock, RIGHT)?;
    restart(&mut fabric).await?;
    until(&fabric, &other, 404).await?;
    is_revoked(&until(&fabric, &revoked, 401).await?)?;
    fabric.stop().await
}

/// A fabric whose auth has a clock that is ahead by what this file says at each moment.
async fn with_clock(file: &str) -> Result<Fabric> {
    let faked = output(&tool("ACCORD_TEST_FAKETIME")?, &["-f", RIGHT, "env"]).await?;
    let library = faked.lines().find_map(|line| line.strip_prefix("LD_PRELOAD=")).context("faketime loads nothing")?;
    let variables = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", file),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let set = |builder: accord_fabric::Builder, (key, value)| builder.environment(Part::Auth, key, value);
    variables.into_iter().fold(Fabric::builder()?, set).start().await
}

async fn restart(fabric: &mut Fabric) -> Result<()> {
    fabric.auth.process.restart()?;
    fabric.auth.wait_serving().await?;
    fabric.gateway.process.restart()?;
    fabric.gateway.wait_serving().await
}

/// Asks until the status is this one.
async fn until(fabric: &Fabric, token: &str, status: u16) -> Result<HttpResponse> {
    let (end, mut looks) = (Instant::now() + RECOVERY, interval(Duration::from_millis(25)));
    loop {
        looks.tick().await;
        let answer = fabric.get(PATH).token(token).send().await?;
        if answer.status == status {
            return Ok(answer);
        }
        ensure!(Instant::now() < end, "still {}: {}", answer.status, answer.text());
    }
}

fn is_revoked(answer: &HttpResponse) -> Result<()> {
    ensure!(answer.text().contains("TOKEN_REVOKED"), "{}", answer.text());
    Ok(())
}

/// When the token was revoked, by auth's clock.
async fn revoked_at(fabric: &Fabric) -> Result<i64> {
    let log = fabric.manage(&["audit", "export"]).await?;
    let mut rows = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let row = rows.find(|row| row["action"] == "token.revoke").context("no token was revoked")?;
    row["at"].as_i64().context("a time")
}

fn now() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}
