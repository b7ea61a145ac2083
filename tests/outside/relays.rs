//! A service that calls its neighbour by the gateway's internal listener, once in each language of the guide, with the files
//! that the guide shows. What is carried on is seen at the last hop.

mod checks;
mod languages;
mod logins;

use crate::journal;
use accord_fabric::{Builder, EDITOR, Fabric, Launch, Process, Script, binaries::workspace, http::HttpCall};
use anyhow::{Context, Result};
use languages::Language;
use logins::Logins;
use serde_json::Value;
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use toml::toml;

/// How long something may take to come to the last hop's notice.
const BOUND: Duration = Duration::from_secs(10);

/// The relay between the gateway and the echo.
struct Relay {
    fabric: Fabric,
    logins: Logins,
    token: String,
    _process: Script,
    _directory: TempDir,
}

impl Relay {
    async fn start(language: Language) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let descriptors = descriptors(directory.path())?;
        let builder = Fabric::builder()?.script("echo", "tests/clients/echo_server.py")?;
        let builder = builder.upstream("relay", &format!("http://{listen}"));
        let builder = builder.upstream_settings("relay", toml! { descriptors = descriptors });
        let overlays = ["tests/clients/overlay.toml", "tests/clients/relays/overlay.toml"];
        let fabric = overlays.into_iter().fold(builder, Builder::overlay).start().await?;
        let secret = directory.path().join("secret").display().to_string();
        fabric.manage(&["client", "add", "relay", "--secret-file", &secret]).await?;
        let logins = Logins::before(fabric.auth.channel()?).await?;
        let mut command = language.command(directory.path()).await?;
        let flags = [
            ("--port", listen.port().to_string()),
            ("--gateway", fabric.internal.to_string()),
            ("--auth", logins.listen.to_string()),
            ("--client-id", "relay".to_owned()),
            ("--client-secret-file", secret),
        ];
        command.extend(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        let process = serve(directory.path(), command, listen).await?;
        let token = fabric.token(EDITOR).await?;
        Ok(Self { fabric, logins, token, _process: process, _directory: directory })
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

/// What the relay is, as a file that the gateway reads.
fn descriptors(directory: &Path) -> Result<String> {
    let mut compiler = protox::Compiler::new([workspace().join("tests/clients/proto")])?;
    let set = compiler.include_imports(true).open_file("relay/v1/relay_service.proto")?.encode_file_descriptor_set();
    let file = directory.join("relay.binpb");
    std::fs::write(&file, set)?;
    Ok(file.display().to_string())
}

async fn serve(directory: &Path, command: Vec<String>, listen: SocketAddr) -> Result<Script> {
    let (program, arguments) = command.split_first().context("a command has a program")?;
    let launch = Launch {
        name: "relay".to_owned(),
        program: program.into(),
        arguments: arguments.iter().map(Into::into).collect(),
        environment: Vec::new(),
        log: directory.join("relay.log"),
    };
    let mut script = Script { process: Process::start(launch)?, listen };
    script.wait_listening().await?;
    Ok(script)
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
