//! How the relay of a language is built and started.

use crate::{output, tool};
use accord_fabric::binaries::workspace;
use anyhow::{Context, Result};
use std::path::Path;

/// What a relay is written in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Language {
    Go,
    Node,
    Python,
    Rust,
}

impl Language {
    /// The program and its first arguments; none where the test's own process serves.
    pub(super) async fn command(self, directory: &Path) -> Result<Option<Vec<String>>> {
        let relays = workspace().join("tests/clients/relays");
        let source = |path: &str| relays.join(path).display().to_string();
        Ok(match self {
            Self::Go => Some(vec![build_go(directory).await?]),
            Self::Node => Some(vec!["node".to_owned(), source("node/main.js")]),
            Self::Python => Some(vec![tool("ACCORD_TEST_PYTHON")?, source("python/main.py")]),
            Self::Rust => None,
        })
    }
}

/// The protos of which Go gets stubs.
const PROTOS: [&str; 4] = [
    "accord/auth/v1/token_service.proto",
    "accord/policy/v1/policy.proto",
    "echo/v1/echo_service.proto",
    "relay/v1/relay_service.proto",
];

/// Generates the stubs, lays the interceptors beside them, and builds the relay, as a team does in its own workspace.
async fn build_go(directory: &Path) -> Result<String> {
    let root = workspace();
    let path = |path: &str| root.join(path).display().to_string();
    let home = directory.join("src");
    let interceptors = home.join("shop.example/calls");
    std::fs::create_dir_all(&interceptors)?;
    for file in std::fs::read_dir(root.join("tests/clients/interceptors/go"))? {
        let file = file?;
        std::fs::copy(file.path(), interceptors.join(file.file_name()))?;
    }
    let mut arguments = vec!["-I".to_owned(), path("tests/clients/proto"), "-I".to_owned(), path("proto")];
    for plugin in ["go", "go-grpc"] {
        arguments.push(format!("--{plugin}_out={}", home.display()));
        for proto in PROTOS {
            let package = Path::new(proto).parent().context("a proto lies in a directory")?.display();
            arguments.push(format!("--{plugin}_opt=M{proto}=shop.example/gen/{package}"));
        }
    }
    arguments.extend(PROTOS.map(str::to_owned));
    output("protoc", &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let gopath = format!("GOPATH={}:{}", directory.display(), std::env::var("GOPATH").unwrap_or_default());
    let program = directory.join("relay").display().to_string();
    output("env", &[&gopath, "go", "build", "-o", &program, &path("tests/clients/relays/go/main.go")]).await?;
    Ok(program)
}
