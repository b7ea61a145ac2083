//! Tools that nobody here wrote: found on this machine or installed under `target/tools`, at pinned versions.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    programs::{apt_install, can_install, debian, on_path, succeed},
    workspace,
};

/// The packages that put no program on the path, and where in them it lies.
const COLLECTOR: [&str; 2] = ["rotel", "rotel-agent"];
const ENVOY: [&str; 2] = ["envoy", "_bin/envoy"];

/// What Go needs to speak gRPC and to verify JWTs, as Debian packages it.
const GO_PACKAGES: [&str; 8] = [
    "golang-go",
    "golang-github-golang-jwt-jwt-dev",
    "golang-gopkg-square-go-jose.v2-dev",
    "golang-google-grpc-dev",
    "golang-github-golang-protobuf-1-5-dev",
    "protobuf-compiler",
    "protoc-gen-go",
    "protoc-gen-go-grpc",
];

/// Where Debian puts the sources of Go's libraries.
const DEBIAN_GOPATH: &str = "/usr/share/gocode";

/// Where the tools are.
pub(super) struct Tools {
    python: PathBuf,
    buf: PathBuf,
    grpcurl: PathBuf,
    rotel: PathBuf,
    redis: PathBuf,
    chromium: PathBuf,
    envoy: PathBuf,
    nginx: PathBuf,
    traefik: PathBuf,
    faketime: PathBuf,
    go: GoSettings,
}

impl Tools {
    /// Installs what the pins ask for and is not there yet.
    pub(super) fn install() -> Result<Self> {
        let directory = workspace::root().join("target/tools");
        fs::create_dir_all(&directory)?;
        let python = python()?;
        let buf = modules()?.join(".bin/buf");
        let go = go(&directory.join("go-build"))?;
        let [rotel, envoy] = [packaged(&python, COLLECTOR)?, packaged(&python, ENVOY)?];
        let nginx = debian("nginx", "nginx-light")?;
        let faketime = debian("faketime", "faketime")?;
        let redis = redis()?;
        let chromium = debian("chromium", "chromium")?;
        let beside = |name: &str| {
            let program = python.with_file_name(name);
            ensure!(program.is_file(), "{name} is not where its package should have put it: {}", program.display());
            Ok(program)
        };
        let (grpcurl, traefik) = (beside("grpcurl")?, beside("traefik")?);
        Ok(Self { python, buf, grpcurl, rotel, redis, chromium, envoy, nginx, traefik, faketime, go })
    }

    /// Puts the tools on a command's path, and names them by variables for those who want exactly these.
    pub(super) fn offer_to(&self, command: &mut Command) -> Result<()> {
        let tools = [
            ("ACCORD_TEST_PYTHON", &self.python),
            ("ACCORD_TEST_BUF", &self.buf),
            ("ACCORD_TEST_GRPCURL", &self.grpcurl),
            ("ACCORD_TEST_ROTEL", &self.rotel),
            ("ACCORD_TEST_REDIS", &self.redis),
            ("ACCORD_TEST_CHROMIUM", &self.chromium),
            ("ACCORD_TEST_ENVOY", &self.envoy),
            ("ACCORD_TEST_NGINX", &self.nginx),
            ("ACCORD_TEST_TRAEFIK", &self.traefik),
            ("ACCORD_TEST_FAKETIME", &self.faketime),
        ];
        let path = env::var_os("PATH").unwrap_or_default();
        let directories = tools.iter().filter_map(|(_, tool)| tool.parent().map(Path::to_owned));
        command.env("PATH", env::join_paths(directories.chain(env::split_paths(&path)))?);
        command.envs(tools).envs(self.go.clone());
        if let Some(modules) = self.buf.ancestors().nth(2) {
            command.env("NODE_PATH", modules);
        }
        Ok(())
    }
}

/// A Redis, which the replicas of the cache share as well.
pub(super) fn redis() -> Result<PathBuf> {
    debian("redis-server", "redis-server")
}

/// The Python of a virtual environment that holds exactly `tests/clients/requirements.txt`.
pub(super) fn python() -> Result<PathBuf> {
    let directory = &workspace::root().join("target/tools/venv");
    fs::create_dir_all(directory)?;
    let pins = workspace::root().join("tests/clients/requirements.txt");
    let python = directory.join("bin/python");
    once_per_pins(&pins, &directory.join("installed.txt"), || {
        ensure!(on_path("python3").is_some(), "Python is missing: install Python 3.10 or newer as python3");
        let mut create = Command::new("python3");
        create.args(["-m", "venv", "--clear"]).arg(directory);
        if succeed(create).is_err() {
            // Debian's Python comes without the module.
            ensure!(can_install(), "Python's venv module is missing: install python3-venv");
            apt_install(&["python3-venv"])?;
            let mut create = Command::new("python3");
            create.args(["-m", "venv", "--clear"]).arg(directory);
            succeed(create)?;
        }
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&pins);
        succeed(install)
    })?;
    Ok(python)
}

/// What Node requires, buf included, from the npm registry, at the versions in `tests/clients/package.json`.
pub(crate) fn modules() -> Result<PathBuf> {
    let directory = workspace::root().join("target/tools/npm");
    node_modules("tests/clients/package.json", &directory)?;
    Ok(directory.join("node_modules"))
}

/// What a file of pins asks of the npm registry.
pub(super) fn node_modules(pins: &str, directory: &Path) -> Result<()> {
    let pins = workspace::root().join(pins);
    once_per_pins(&pins, &directory.join("installed.json"), || {
        ensure!(on_path("npm").is_some(), "npm is missing: install Node.js 20 or newer with npm");
        fs::create_dir_all(directory)?;
        fs::copy(&pins, directory.join("package.json"))?;
        let mut install = Command::new("npm");
        install.args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]);
        install.current_dir(directory);
        succeed(install)
    })
}

/// What the environment of each call of `go` holds.
type GoSettings = [(&'static str, OsString); 3];

/// What Go's programs in the tests are built on. Building it before them leaves little to build there.
const GO_LIBRARIES: [&str; 4] = [
    "google.golang.org/grpc",
    "google.golang.org/protobuf/proto",
    "github.com/golang-jwt/jwt",
    "gopkg.in/square/go-jose.v2/jwt",
];

/// Go, its libraries for gRPC and JWT, protoc and its plugins for Go.
fn go(cache: &Path) -> Result<GoSettings> {
    let mut path = env::var_os("GOPATH").unwrap_or_default();
    path.push(if path.is_empty() { "" } else { ":" });
    path.push(DEBIAN_GOPATH);
    let settings = [("GO111MODULE", "off".into()), ("GOPATH", path), ("GOCACHE", cache.into())];
    let build = || {
        let mut build = Command::new("go");
        build.arg("build").args(GO_LIBRARIES).envs(settings.clone());
        succeed(build)
    };
    let are_found = ["go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc"].into_iter().all(|it| on_path(it).is_some());
    if !are_found || build().is_err() {
        ensure!(can_install(), "gRPC or JWT for Go is missing: install what Debian calls {}", GO_PACKAGES.join(", "));
        apt_install(&GO_PACKAGES)?;
        build()?;
    }
    Ok(settings)
}

/// A program in a package of the environment's Python.
fn packaged(python: &Path, [package, program]: [&str; 2]) -> Result<PathBuf> {
    let find = format!(
        "import importlib.util as u, pathlib; print(pathlib.Path(u.find_spec('{package}').origin).parent / '{program}')"
    );
    let output = Command::new(python).args(["-c", &find]).output().context("Python could not be started")?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    ensure!(path.is_file(), "{program} is not where its package should have put it: {}", path.display());
    Ok(path)
}

/// Installs unless the same pins were installed before; the mark is written last, so that half an installation is none.
pub(super) fn once_per_pins(pins: &Path, mark: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted = fs::read(pins).with_context(|| format!("{} could not be read", pins.display()))?;
    if fs::read(mark).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    install()?;
    fs::write(mark, wanted).with_context(|| format!("{} could not be written", mark.display()))
}
