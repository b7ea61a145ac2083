//! Signing keys that are rotated, and withdrawn, while calls are under way.

use crate::{create, load::under_load, reason};
use accord_fabric::{EDITOR, Fabric, Part};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::Duration;
use tokio::{sync::RwLock, time::Instant};
use toml::toml;

/// How long anything here may take on a loaded machine.
const BOUND: Duration = Duration::from_mins(1);
const LOGINS: &str = "accord_auth_logins_total";

/// The members that log in: gateway, cache and catalog. Each does once in two thirds of a token's life, so that twice as many logins are of
/// each of them.
const LOGINS_OF_ALL: f64 = 6.0;

const PRODUCT: &str = "/v1/products/oak-desk";

/// What `key list` says of the published keys.
async fn keys(fabric: &Fabric) -> Result<Vec<Value>> {
    Ok(serde_json::from_str(&fabric.manage(&["key", "list", "--output", "json"]).await?)?)
}

async fn signing(fabric: &Fabric) -> Result<String> {
    let keys = keys(fabric).await?;
    let key = keys.iter().find(|key| key["state"] == "signing").context("no key signs")?;
    Ok(key["kid"].as_str().context("it has no name")?.to_owned())
}

/// A read and its status, with the reason where it failed.
async fn read(fabric: &Fabric, token: &str) -> Result<(u16, String)> {
    let read = fabric.get(PRODUCT).token(token).send().await?;
    let why = if read.status.is_success() { String::new() } else { reason(&read) };
    Ok((read.status.as_u16(), why))
}

async fn until_read(fabric: &Fabric, token: &str, wanted: &(u16, String)) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let got = read(fabric, token).await?;
        if got == *wanted {
            return Ok(began.elapsed());
        }
        ensure!(began.elapsed() < BOUND, "it stays {got:?}, and never becomes {wanted:?}");
    }
}

/// Publishes a key, waits until it signs and everything that the one before signed has ended, and takes that one away.
async fn rotate(fabric: &Fabric, token: &RwLock<String>) -> Result<()> {
    let before = signing(fabric).await?;
    let next = fabric.manage(&["key", "rotate"]).await?.trim().to_owned();
    let end = Instant::now() + BOUND;
    while signing(fabric).await? != next {
        ensure!(Instant::now() < end, "the new key does not sign");
    }
    // Nobody is within a call with the old token once the lock is held.
    let fresh = fabric.token(EDITOR).await?;
    *token.write().await = fresh;
    let succeeded = [("outcome", "succeeded")];
    let logins = fabric.auth.metric(LOGINS, &succeeded).await?;
    while fabric.auth.metric(LOGINS, &succeeded).await? < logins + LOGINS_OF_ALL {
        ensure!(Instant::now() < end, "the members of the mesh do not log in again");
    }
    fabric.manage(&["key", "retire", &before]).await?;
    ensure!(keys(fabric).await?.iter().all(|key| key["kid"] != *before), "it is published still");
    // The callers go on, since verifiers hear of it a moment later.
    for _ in 0..100 {
        call(fabric, token).await?;
    }
    Ok(())
}

async fn call(fabric: &Fabric, token: &RwLock<String>) -> Result<()> {
    let token = token.read().await;
    let got = read(fabric, &token).await?;
    ensure!(got.0 == 200, "{got:?}");
    Ok(())
}

#[tokio::test]
async fn signing_key_that_is_rotated_under_load_loses_no_call() -> Result<()> {
    let times = toml! {
        [keys]
        publish_before_signing = "10001ms"
        [tokens]
        access_ttl = "9s"
        passport_ttl = "9s"
    };
    let fabric = Fabric::builder()?.settings(Part::Auth, times).start().await?;
    ensure!(create(&fabric, "Oak desk").await?.status.is_success(), "no product");
    let token = RwLock::new(fabric.token(EDITOR).await?);
    under_load(|| call(&fabric, &token), rotate(&fabric, &token)).await?;
    fabric.stop().await
}

#[tokio::test]
async fn token_that_a_retired_key_signed_is_refused_at_the_gateway_within_the_bound() -> Result<()> {
    let fabric = Fabric::start().await?;
    ensure!(create(&fabric, "Oak desk").await?.status.is_success(), "no product");
    let (stolen, kid) = (fabric.token(EDITOR).await?, signing(&fabric).await?);
    assert_eq!(read(&fabric, &stolen).await?.0, 200);
    fabric.manage(&["key", "retire", &kid]).await?;
    let refused = (401, "CREDENTIAL_INVALID".to_owned());
    let after = until_read(&fabric, &stolen, &refused).await?;
    // The default of `auth.staleness_bound`.
    ensure!(after < Duration::from_secs(5), "it was accepted for {after:?}");
    // The members of the mesh log in again by themselves, and whoever logs in anew is let in.
    let fresh = fabric.token(EDITOR).await?;
    until_read(&fabric, &fresh, &(200, String::new())).await?;
    assert_eq!(read(&fabric, &stolen).await?, refused, "for good");
    fabric.stop().await
}
