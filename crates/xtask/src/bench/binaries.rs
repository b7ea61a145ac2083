//! The binaries that are measured: built as they are released, or taken as they are.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use accord_fabric::binaries::VARIABLE;
use anyhow::{Context, Result, ensure};

use crate::{programs::succeed, say::note, workspace};

const MEASURED: [&str; 4] = ["accord-auth", "accord-cache", "accord-catalog", "accord-gateway"];
/// Upstream and floors.
const BESIDE: &str = "accord-bench";

/// Where the programs are.
pub(super) struct Binaries {
    /// The directory with what is measured.
    pub measured: PathBuf,
    /// The program of upstream and floors.
    pub beside: PathBuf,
}

impl Binaries {
    /// The same in this directory, with some programs in the place of those of their names.
    pub(super) fn replaced(&self, directory: &Path, by: &[(&str, PathBuf)]) -> Result<Self> {
        fs::create_dir_all(directory)?;
        for program in MEASURED {
            let other = by.iter().find(|(name, _)| *name == program).map(|(_, path)| path.clone());
            symlink(other.unwrap_or_else(|| self.measured.join(program)), directory.join(program))?;
        }
        Ok(Self { measured: directory.to_owned(), beside: self.beside.clone() })
    }
}

/// Where cargo puts what it builds with a profile.
pub(super) fn directory(profile: &str) -> Result<PathBuf> {
    Ok(workspace::target_directory()?.join(if profile == "dev" { "debug" } else { profile }))
}

/// Builds what nobody gives.
pub(super) fn of(profile: &str) -> Result<Binaries> {
    let built = directory(profile)?;
    let Some(given) = env::var_os(VARIABLE) else {
        build(profile, &[&MEASURED[..], &[BESIDE]].concat(), &[])?;
        return Ok(Binaries { beside: built.join(BESIDE), measured: built });
    };
    let measured = PathBuf::from(given).canonicalize().with_context(|| format!("{VARIABLE} names no directory"))?;
    for program in MEASURED {
        ensure!(measured.join(program).is_file(), "{} has no {program}", measured.display());
    }
    build(profile, &[BESIDE], &[])?;
    Ok(Binaries { measured, beside: built.join(BESIDE) })
}

/// Builds packages, each alone in what it switches on, as an image would.
pub(super) fn build(profile: &str, packages: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    note(format_args!(
        "Building {} with the profile {profile} (the first time takes minutes) ...",
        packages.join(", ")
    ));
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--profile", profile]).current_dir(workspace::root());
    command.args(packages.iter().flat_map(|package| ["--package", package])).envs(environment.iter().copied());
    succeed(command)
}

/// The absolute path of a directory that a flag names.
pub(super) fn given(directory: &Path) -> Result<PathBuf> {
    directory.canonicalize().with_context(|| format!("{} can't be read", directory.display()))
}
