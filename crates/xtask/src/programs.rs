//! Programs of this machine: found, installed, run.

use std::{
    env, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::say::note;

/// The first program of this name on PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|candidate| candidate.is_file())
}

/// Whether packages can be installed here without asking anyone: Debian or Ubuntu, as root.
pub(crate) fn can_install() -> bool {
    on_path("apt-get").is_some() && fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Installs Debian packages.
pub(crate) fn apt_install(packages: &[&str]) -> Result<()> {
    note(format_args!("installing {}", packages.join(" ")));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        // Another installation may be under way, as on a machine that has just started.
        command.args(["--quiet", "--quiet", "-o", "DPkg::Lock::Timeout=300"]);
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        succeed(command)
    };
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], packages].concat())
}

/// A program that Debian packages.
pub(crate) fn debian(program: &str, package: &str) -> Result<PathBuf> {
    let find = || on_path(program).or_else(|| Some(PathBuf::from("/usr/sbin").join(program)).filter(|it| it.is_file()));
    if let Some(found) = find() {
        return Ok(found);
    }
    ensure!(can_install(), "{program} is missing: install what Debian calls {package}");
    apt_install(&[package])?;
    find().with_context(|| format!("{package} has no program {program}"))
}

/// Runs a command to its end with its output on ours.
pub(crate) fn succeed(mut command: Command) -> Result<()> {
    let program = Path::new(command.get_program()).to_path_buf();
    let status = command.status().with_context(|| format!("{} could not be started", program.display()))?;
    let name = program.file_name().unwrap_or(program.as_os_str()).display();
    ensure!(status.success(), "{name} ended with {status}; what it said stands above");
    Ok(())
}
