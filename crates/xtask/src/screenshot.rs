//! `cargo xtask screenshot`: the picture of the console in the README, of real processes under calls.

use std::{fs, process::Command};

use accord_fabric::{EDITOR, Fabric, binaries};
use anyhow::{Context, Result};

use crate::{
    programs::{debian, succeed},
    say::{note, say},
    test,
    up::{self, console},
    workspace,
};

const PICTURE: &str = "deploy/guide/console.png";
const SCRIPT: &str = "tests/clients/web/console_picture.cjs";

/// Starts the sample, makes calls, and has Chromium take the picture.
pub(crate) fn run() -> Result<()> {
    let modules = test::node_modules()?;
    let chromium = debian("chromium", "chromium")?;
    note("Building ...");
    binaries::directory()?;
    let runtime = tokio::runtime::Runtime::new().context("can't start a runtime")?;
    runtime.block_on(async {
        let fabric = Fabric::builder()?.orders().start().await?;
        let mut script = Command::new("node");
        script.arg(workspace::root().join(SCRIPT)).env("NODE_PATH", modules);
        script.arg("--chromium").arg(chromium).args(arguments(&fabric).await?);
        script.arg("--picture").arg(workspace::root().join(PICTURE));
        tokio::task::spawn_blocking(|| succeed(script)).await??;
        fabric.stop().await
    })?;
    say(format_args!("{PICTURE} is new: look at it"))
}

/// Where the script finds the gateway, and as whom it looks and calls.
async fn arguments(fabric: &Fabric) -> Result<Vec<String>> {
    let password = fs::read_to_string(console::add_administrator(fabric).await?)?;
    let caller = fabric.token(EDITOR).await?;
    up::load_records(fabric, &caller).await?;
    let (admin, gateway) = (format!("http://{}", fabric.gateway.admin), fabric.gateway.url());
    let named = [
        ("--admin", admin),
        ("--gateway", gateway),
        ("--caller", caller),
        ("--name", console::NAME.to_owned()),
        ("--password", password.trim().to_owned()),
    ];
    Ok(named.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect())
}
