//! The workspace as cargo and git know it.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

pub(crate) use accord_fabric::binaries::workspace as root;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// A member of the workspace.
#[derive(Deserialize)]
pub(crate) struct Package {
    /// Its name, such as `accord-auth`.
    pub name: String,
    /// What it is built from, whatever for.
    pub dependencies: Vec<Dependency>,
    /// What it is built into.
    pub targets: Vec<Target>,
}

/// What a package is built from.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    /// The name of the package depended on.
    pub name: String,
}

/// What a package is built into.
#[derive(Deserialize)]
pub(crate) struct Target {
    /// Its name, as in `cargo test --test NAME`.
    pub name: String,
    /// Features without which cargo leaves it out.
    #[serde(default, rename = "required-features")]
    pub required_features: Vec<String>,
}

/// The members of the workspace.
pub(crate) fn packages() -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let answer = output(env!("CARGO"), &["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: Metadata = serde_json::from_str(&answer).context("cargo metadata answered in an unknown form")?;
    Ok(metadata.packages)
}

/// The files that belong to the project, relative to its root: those git has or would take, still there.
pub(crate) fn files() -> Result<Vec<PathBuf>> {
    let listed = output("git", &["ls-files", "--cached", "--others", "--exclude-standard"])?;
    let root = root();
    let mut files: Vec<PathBuf> = listed.lines().map(PathBuf::from).filter(|file| root.join(file).is_file()).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// What a command prints when it is run at the root. What it says on the way goes to our own standard error.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{program} could not be started"))?;
    ensure!(output.status.success(), "{program} {} failed", arguments.join(" "));
    String::from_utf8(output.stdout).with_context(|| format!("{program} printed something other than text"))
}
