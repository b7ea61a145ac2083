//! A gateway of Gin and grpc-go, the kind that is written by hand: its source is ours, its libraries are those that Debian packages.

use std::{env, ffi::OsString, fs, path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use super::{Checks, Form, Key, Peer};
use crate::{
    bench::stage::Stage,
    programs::{apt_install, can_install, on_path, succeed},
    workspace,
};

const SOURCE: &str = "crates/bench/peers/gin/main.go";
const DEBIAN_GOPATH: &str = "/usr/share/gocode";
const ANNOTATIONS: &str = "google.golang.org/genproto/googleapis/api/annotations";
const PACKAGES: [&str; 9] = [
    "golang-go",
    "golang-github-gin-gonic-gin-dev",
    "golang-github-golang-jwt-jwt-dev",
    "golang-golang-x-time-dev",
    "golang-google-grpc-dev",
    "golang-google-genproto-dev",
    "protobuf-compiler",
    "protoc-gen-go",
    "protoc-gen-go-grpc",
];

pub(super) async fn start(stage: &Stage, key: &Key) -> Result<Peer> {
    let program = build()?;
    let (address, upstream) = (stage.reserve()?, stage.upstream.to_string());
    let jwks = stage.write("jwks.json", &key.jwks()?.to_string())?;
    let listen = address.to_string();
    let arguments = ["-listen", &listen, "-upstream", &upstream, "-jwks", &jwks, "-alg", &key.alg];
    let process = stage.start_tested("gin", &program, &arguments, address).await?;
    Ok(Peer { process, listeners: [((Form::Json, Checks::Limit, false), address)].into(), checks_nothing: false })
}

fn build() -> Result<PathBuf> {
    let directory = workspace::root().join("target/tools/gin");
    let source = directory.join("src/gateway");
    fs::create_dir_all(&source)?;
    let tools = ["go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc"];
    let is_there = |path: &str| PathBuf::from(DEBIAN_GOPATH).join("src").join(path).is_dir();
    let libraries =
        ["github.com/gin-gonic/gin", "github.com/golang-jwt/jwt", "golang.org/x/time", "google.golang.org/grpc"];
    if !(tools.into_iter().all(|tool| on_path(tool).is_some()) && libraries.into_iter().all(is_there)) {
        ensure!(can_install(), "install what Debian calls {}", PACKAGES.join(", "));
        apt_install(&PACKAGES)?;
    }
    let mut stubs = Command::new("protoc");
    stubs.args(["-I", "crates/bench/proto", "-I", "proto", "bench/v1/bench_service.proto"]);
    let out = directory.join("src").display().to_string();
    stubs.args([format!("--go_out={out}"), format!("--go-grpc_out={out}")]).current_dir(workspace::root());
    for file in ["annotations", "http"] {
        let place = format!("Mgoogle/api/{file}.proto={ANNOTATIONS}");
        stubs.args([format!("--go_opt={place}"), format!("--go-grpc_opt={place}")]);
    }
    succeed(stubs)?;
    fs::copy(workspace::root().join(SOURCE), source.join("main.go"))?;
    let mut path = OsString::from(&directory);
    path.push(":");
    path.push(DEBIAN_GOPATH);
    let program = directory.join("gateway");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&program).arg("gateway").envs([("GO111MODULE", "off")]).env("GOPATH", path);
    go.env("GOCACHE", directory.join("cache")).env("PATH", env::var_os("PATH").unwrap_or_default());
    succeed(go)?;
    Ok(program)
}
