//! A service that calls its neighbour by the gateway's internal listener, once in each language of the guide, with the files
//! that the guide shows. What is carried on is seen at the last hop.

mod checks;
mod languages;
mod logins;
mod rust;
mod workload;

use crate::journal;
use accord_fabric::{Builder, EDITOR, Fabric, Script, http::HttpCall};
use anyhow::Result;
use languages::Language;
use logins::Logins;
use serde_json::Value;
use std::time::{Duration, Instant};
use toml::toml;
use workload::Workload;

/// How long something may take to come to the last hop's notice.
const BOUND: Duration = Duration::from_secs(10);

/// The relay between the gateway and the echo.
struct Relay {
    fabric: Fabric,
    logins: Logins,
    token: String,
    _script: Option<Script>,
    _workload: Workload,
}

impl Relay {
    async fn start(language: Language) -> Result<Self> {
        let workload = Workload::new("relay")?;
        let descriptors = workload.descriptors("tests/clients/proto", "relay/v1/relay_service.proto")?;
        let builder = Fabric::builder()?.script("echo", "tests/clients/echo_server.py")?;
        let builder = builder.upstream("relay", &workload.url());
        let builder = builder.upstream_settings("relay", toml! { descriptors = descriptors });
        let overlays = ["tests/clients/overlay.toml", "tests/clients/relays/overlay.toml"];
        let fabric = overlays.into_iter().fold(builder, Builder::overlay).start().await?;
        let secret = workload.register(&fabric).await?;
        let logins = Logins::before(fabric.auth.channel()?).await?;
        let script = match language.command(workload.directory()).await? {
            Some(command) => Some(workload.start(command, fabric.internal, logins.listen, &secret).await?),
            None => rust::serve(workload.listen, fabric.internal, logins.listen, &secret).await.map(|()| None)?,
        };
        let token = fabric.token(EDITOR).await?;
        Ok(Self { fabric, logins, token, _script: script, _workload: workload })
    }

    /// A call of the relay at the door.
    fn get(&self, path: &str) -> HttpCall {
        self.fabric.get(&format!("/v1/relay/{path}")).token(&self.token)
    }

    /// The last call of this method that the echo has seen, once it is as wanted.
    async fn echo_saw(&self, method: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let end = Instant::now() + BOUND;
        loop {
            let entries = journal(&self.fabric).await?;
            if let Some(entry) = entries.iter().rev().find(|entry| entry["method"] == method && wanted(entry)) {
                return Ok(entry.clone());
            }
            let last = entries.last();
            anyhow::ensure!(Instant::now() < end, "the echo has seen no {method} as wanted, but last {last:?}");
        }
    }
}

#[tokio::test]
async fn call_context_is_carried_on_in_go() -> Result<()> {
    checks::hold(Language::Go).await
}

#[tokio::test]
async fn call_context_is_carried_on_in_node() -> Result<()> {
    checks::hold(Language::Node).await
}

#[tokio::test]
async fn call_context_is_carried_on_in_python() -> Result<()> {
    checks::hold(Language::Python).await
}

#[tokio::test]
async fn call_context_is_carried_on_in_rust() -> Result<()> {
    checks::hold(Language::Rust).await
}
