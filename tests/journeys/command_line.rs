//! The commands of the binaries: how they end, and what they show for programs.

use accord_fabric::{Fabric, Part, binaries};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    process::{Command, Output},
};

const BINARIES: [&str; 3] = ["accord-gateway", "accord-auth", "accord-cache"];

fn run(binary: &str, words: &[&str]) -> Result<Output> {
    Ok(Command::new(binaries::path(binary)?).args(words).env_clear().output()?)
}

#[test]
fn each_exit_status_is_that_of_every_binary() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("wrong.toml");
    fs::write(&file, "[listen]\naddres = \":8080\"\n")?;
    let wrong = file.to_str().context("a path")?;
    for binary in BINARIES {
        for (words, status) in [
            (&["completions", "bash"][..], 0),
            (&["config", "print", "--output", "json"], 0),
            (&["check", "--config", wrong], 1),
            (&["no-such-command"], 2),
            (&["check", "--no-such-flag"], 2),
            (&["serve", "--config", wrong], 78),
            (&["config", "print", "--config", wrong], 78),
        ] {
            let ended = run(binary, words)?;
            ensure!(ended.status.code() == Some(status), "{binary} {words:?}: {status}: {ended:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn commands_that_list_and_show_give_programs_json() -> Result<()> {
    let fabric = Fabric::start().await?;
    fabric.manage(&["principal", "add", "olga", "--role", "accord-admin"]).await?;
    let config = fabric.config(Part::Auth);
    let config = config.to_str().context("a path")?;
    let json = |words: &[&str]| -> Result<serde_json::Value> {
        let ended = run("accord-auth", &[words, &["--config", config, "--output", "json"]].concat())?;
        ensure!(ended.status.success(), "{words:?}: {ended:?}");
        serde_json::from_slice(&ended.stdout).with_context(|| format!("{words:?}: {ended:?}"))
    };
    let listed = json(&["principal", "list"])?;
    let olga =
        listed.as_array().into_iter().flatten().find(|row| row["name"] == "olga").context("olga is not there")?;
    assert_eq!((&olga["kind"], &olga["roles"][0]), (&"user".into(), &"accord-admin".into()));
    assert_eq!(json(&["principal", "show", "olga"])?["state"], "active");
    assert_eq!(json(&["client", "show", "gateway"])?["secrets"]["valid"], 1);
    for empty in [&["api-key", "list"][..], &["certificate-identity", "list"], &["principal", "links"]] {
        assert_eq!(json(empty)?, serde_json::json!([]), "{empty:?}");
    }
    assert_eq!(json(&["audit", "verify"])?["good"], true);
    let stats = format!("http://{}", fabric.cache.admin);
    let ended = run("accord-cache", &["stats", &stats, "--interval", "100ms", "--count", "2", "--output", "json"])?;
    let tables: Vec<serde_json::Value> =
        serde_json::Deserializer::from_slice(&ended.stdout).into_iter().collect::<Result<_, _>>()?;
    assert!(tables.len() == 2 && tables.iter().all(|table| table["entries"].is_number()), "{tables:?}");
    fabric.stop().await
}
