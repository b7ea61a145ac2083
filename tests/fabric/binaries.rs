//! The binaries that the fabric starts: those of the profile that the caller itself was built with.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, bail};

/// Names a directory with binaries to use as they are; without it they are built at first use.
pub const VARIABLE: &str = "ACCORD_BINARIES";

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// The path of a binary.
pub fn path(name: &str) -> Result<PathBuf> {
    Ok(directory()?.join(name))
}

/// The path of a binary in this directory; without one, of that which fits the caller.
pub fn among(directory: Option<&Path>, name: &str) -> Result<PathBuf> {
    directory.map_or_else(|| path(name), |directory| Ok(directory.join(name)))
}

/// Where the binaries are. The first call of a process builds them, showing cargo's progress.
pub fn directory() -> Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    // Other processes that build at the same time are kept waiting by cargo's own lock.
    match BUILT.get_or_init(|| locate().map_err(|problem| format!("{problem:#}"))) {
        Ok(directory) => Ok(directory),
        Err(problem) => bail!("{problem}"),
    }
}

fn locate() -> Result<PathBuf> {
    if let Some(directory) = env::var_os(VARIABLE) {
        return Ok(directory.into());
    }
    build()?;
    output()
}

fn build() -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--workspace", "--bins", "--profile"]).arg(profile()?).current_dir(workspace());
    if !command.status().context("can't run cargo")?.success() {
        bail!("the binaries do not build: see the compiler's messages above");
    }
    Ok(())
}

/// `target/PROFILE`, seen from the running test (`target/PROFILE/deps/…`) or tool (`target/PROFILE/…`).
fn output() -> Result<PathBuf> {
    let running = env::current_exe()?;
    let directory = running.parent().context("a program lies in a directory")?;
    let directory = if directory.ends_with("deps") { directory.parent() } else { Some(directory) };
    Ok(directory.context("`deps` lies in a directory")?.to_owned())
}

fn profile() -> Result<String> {
    let directory = output()?;
    let name = directory.file_name().and_then(|name| name.to_str()).context("a profile has a name")?;
    // The one profile whose directory is called otherwise.
    Ok(if name == "debug" { "dev".to_owned() } else { name.to_owned() })
}
