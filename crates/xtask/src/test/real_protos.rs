//! Descriptors that nobody here wrote, from packages that ship them, each through the real gateway.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use accord_fabric::binaries;
use anyhow::Result;

use crate::{programs::succeed, workspace};

use super::outside::{node_modules, once_per_pins, python};

const SUITE: &str = "tests/real_protos";

/// How much is driven, and against which build.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// All sets by all of their bindings.
    pub(super) whole: bool,
    /// As it is released.
    pub(super) release: bool,
}

/// Runs the suite on sets that are made once for the pins.
pub(super) fn run(Scope { whole, release }: Scope) -> Result<()> {
    let python = python()?;
    let sets = descriptor_sets(&python, &workspace::root().join("target/tools/real-protos"))?;
    let mut command = Command::new(python);
    command.args(["-m", "unittest", "--quiet"]).current_dir(workspace::root().join(SUITE));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("ACCORD_TEST_GATEWAY", gateway(release)?).env("ACCORD_REAL_PROTOS", sets);
    let asked = [("ACCORD_REAL_PROTOS_WHOLE", whole), ("ACCORD_REAL_PROTOS_RELEASE", release)];
    command.envs(asked.into_iter().filter(|(_, is_asked)| *is_asked).map(|(variable, _)| (variable, "yes")));
    succeed(command)
}

fn gateway(release: bool) -> Result<PathBuf> {
    if !release {
        return binaries::path("accord-gateway");
    }
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--release", "--package", "accord-gateway"]).current_dir(workspace::root());
    succeed(build)?;
    Ok(workspace::target_directory()?.join("release/accord-gateway"))
}

fn descriptor_sets(python: &Path, directory: &Path) -> Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let (npm, sets) = (directory.join("npm"), directory.join("sets"));
    node_modules(&format!("{SUITE}/package.json"), &npm)?;
    let pins = workspace::root().join(SUITE).join("wheels.txt");
    let wheels = directory.join("wheels");
    once_per_pins(&pins, &directory.join("downloaded.txt"), || {
        replace(&wheels)?;
        let mut download = Command::new(python);
        download.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        download.args(["--only-binary=:all:", "--requirement"]).arg(&pins).arg("--dest").arg(&wheels);
        succeed(download)
    })?;
    // Whatever else changes what the sets are, changes this script or the pins that it reads.
    let script = workspace::root().join(SUITE).join("descriptors.py");
    let marks = [pins, workspace::root().join(SUITE).join("package.json"), script.clone()];
    let inputs = directory.join("inputs.txt");
    fs::write(&inputs, marks.iter().map(fs::read).collect::<Result<Vec<_>, _>>()?.concat())?;
    once_per_pins(&inputs, &directory.join("made.txt"), || {
        replace(&sets)?;
        let mut make = Command::new(python);
        make.arg(&script).args([&wheels, &npm.join("node_modules/google-proto-files"), &sets]);
        succeed(make)
    })?;
    Ok(sets)
}

/// An empty directory in the place of whatever is there.
fn replace(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    Ok(fs::create_dir_all(directory)?)
}
