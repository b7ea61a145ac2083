//! The neighbour: somebody at another address who asks for little, one call after the other.

use std::{
    fs,
    time::{Duration, Instant},
};

use accord_api::accord::auth::v1::token_service_client::TokenServiceClient;
use accord_fabric::Fabric;
use anyhow::{Result, bail};

use super::{
    NEIGHBOUR,
    logins::{connect, login},
};
use crate::say::note;

/// A product that is read whole by the gateway, and how long the neighbour waits for it, in seconds.
const PRODUCT: &str = "/v1/products/oak-desk";
const TIMEOUT: &str = "2";

const PERSON: &str = "neighbour";
const PASSWORD: &str = "a right password";

/// What the neighbour felt.
pub(super) struct Felt {
    /// Calls that failed.
    pub failed: usize,
    /// How long each call took, in order.
    pub times: Vec<Duration>,
}

impl Felt {
    /// How long the call took that so many percent did not exceed.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        self.times.get(self.times.len() * percent / 100).copied().unwrap_or_default()
    }
}

/// Reads a product so often.
pub(super) async fn reads(fabric: &Fabric, token: &str, count: usize) -> Result<Felt> {
    measured(count, async || {
        let call = fabric.get(PRODUCT).token(token).header("request-timeout", TIMEOUT).from(NEIGHBOUR);
        let answer = call.send().await?;
        if answer.status.is_success() { Ok(()) } else { bail!("{}", answer.text()) }
    })
    .await
}

/// Lets the neighbour log in.
pub(super) async fn add_person(fabric: &Fabric) -> Result<()> {
    let password = fabric.directory().join("neighbour-password");
    fs::write(&password, PASSWORD)?;
    let password = password.display().to_string();
    fabric.manage(&["principal", "add", PERSON, "--password-file", &password]).await.map(drop)
}

/// Logs in so often, with the right password.
pub(super) async fn logins(fabric: &Fabric, count: usize) -> Result<Felt> {
    measured(count, async || {
        let mut client = TokenServiceClient::new(connect(fabric, NEIGHBOUR).await?);
        client.issue(login(PERSON, PASSWORD)).await?;
        Ok(())
    })
    .await
}

async fn measured(count: usize, call: impl AsyncFn() -> Result<()>) -> Result<Felt> {
    let (mut times, mut failed) = (Vec::with_capacity(count), 0);
    for _ in 0..count {
        let begun = Instant::now();
        let outcome = call().await;
        times.push(begun.elapsed());
        if let Err(problem) = outcome {
            failed += 1;
            note(format_args!("a call of the neighbour failed: {problem:#}"));
        }
    }
    times.sort_unstable();
    Ok(Felt { failed, times })
}
