//! The workspace as cargo and git know it.

use std::{
    fs,
    path::{Path, PathBuf},
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
    /// Where its manifest is.
    pub manifest_path: PathBuf,
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
    /// The name that the sources know it by, where that is another.
    pub rename: Option<String>,
    /// What for: `dev` and `build` say so, what the package itself is built from says nothing.
    pub kind: Option<String>,
}

/// What a package is built into.
#[derive(Deserialize)]
pub(crate) struct Target {
    /// Its name, as in `cargo test --test NAME`.
    pub name: String,
    /// `lib`, `bin`, `test`, `custom-build` and the like.
    pub kind: Vec<String>,
    /// The file that it begins with.
    pub src_path: PathBuf,
    /// Whether `cargo test` runs it unasked.
    pub test: bool,
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

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let answer = output(env!("CARGO"), &["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: Metadata = serde_json::from_str(&answer).context("cargo metadata answered in an unknown form")?;
    Ok(metadata.target_directory)
}

impl Dependency {
    /// What its line in a manifest begins with.
    pub(crate) fn key(&self) -> &str {
        self.rename.as_deref().unwrap_or(&self.name)
    }

    /// What the sources call it.
    pub(crate) fn identifier(&self) -> String {
        self.key().replace('-', "_")
    }
}

impl Target {
    /// Whether the dependencies of this kind are there for it: `dev`, `build`, or nothing for the package itself.
    pub(crate) fn is_built_for(&self, kind: &str) -> bool {
        let is = |wanted: &str| self.kind.iter().any(|kind| kind == wanted);
        match kind {
            "build" => is("custom-build"),
            "dev" => !is("custom-build"),
            _ => is("lib") || is("bin"),
        }
    }

    /// Where its sources are, relative to the root: a folder, or one file.
    pub(crate) fn sources(&self) -> PathBuf {
        let file = self.src_path.strip_prefix(root()).unwrap_or(&self.src_path);
        // A build script lies beside the manifest, and stands for itself alone.
        let own = if self.is_built_for("build") { Some(file) } else { file.parent() };
        own.unwrap_or(file).to_path_buf()
    }
}

/// What `cargo metadata` says of a library from elsewhere.
#[derive(Deserialize)]
pub(crate) struct Library {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence as an SPDX expression; some have none, or a file instead.
    pub license: Option<String>,
}

/// The members, and every library that they are built from on this machine.
pub(crate) fn libraries() -> Result<Vec<Library>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Library>,
    }
    let version = output(env!("CARGO"), &["--version", "--verbose"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("cargo names no host")?;
    let metadata = ["metadata", "--format-version", "1", "--all-features", "--filter-platform", host];
    let metadata: Metadata = serde_json::from_str(&output(env!("CARGO"), &metadata)?)
        .context("cargo metadata answered in an unknown form")?;
    Ok(metadata.packages)
}

/// Reads a file of the project; its path is relative to the root.
pub(crate) fn read(file: &Path) -> Result<String> {
    fs::read_to_string(root().join(file)).with_context(|| format!("{} could not be read", file.display()))
}

/// The files that belong to the project, relative to its root: those git has or would take, still there.
pub(crate) fn files() -> Result<Vec<PathBuf>> {
    listed(&["--cached", "--others", "--exclude-standard"])
}

/// The files that git has, still there: what somebody only tries out in a clone is none of them.
pub(crate) fn tracked_files() -> Result<Vec<PathBuf>> {
    listed(&["--cached"])
}

fn listed(which: &[&str]) -> Result<Vec<PathBuf>> {
    let listed = output("git", &[&["ls-files"], which].concat())?;
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
