//! How the relay of a language is built and started.

use crate::{go, tool};
use accord_fabric::binaries::workspace;
use anyhow::Result;
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

/// Lays the interceptors beside the stubs, and builds the relay.
async fn build_go(directory: &Path) -> Result<String> {
    let interceptors = directory.join("src/shop.example/calls");
    std::fs::create_dir_all(&interceptors)?;
    for file in std::fs::read_dir(workspace().join("tests/clients/interceptors/go"))? {
        let file = file?;
        std::fs::copy(file.path(), interceptors.join(file.file_name()))?;
    }
    go::build(directory, &PROTOS, "tests/clients/relays/go/main.go").await
}
