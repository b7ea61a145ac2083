//! Programs in Go, built as a team does in its own workspace: stubs by protoc, and sources beside them.

use crate::output;
use accord_fabric::binaries::workspace;
use anyhow::{Context, Result};
use std::path::Path;

/// Protos whose messages Go has in a package of Google's.
const OF_GOOGLE: [&str; 2] = ["google/api/annotations.proto", "google/api/http.proto"];

/// Generates stubs of these protos and builds the program of this source, both relative to the workspace, in a directory that may
/// have packages in its `src`. Its path.
pub(crate) async fn build(directory: &Path, protos: &[&str], source: &str) -> Result<String> {
    let root = workspace();
    let path = |path: &str| root.join(path).display().to_string();
    let home = directory.join("src");
    std::fs::create_dir_all(&home)?;
    let mut arguments = vec!["-I".to_owned(), path("tests/clients/proto"), "-I".to_owned(), path("proto")];
    for plugin in ["go", "go-grpc"] {
        arguments.push(format!("--{plugin}_out={}", home.display()));
        for proto in protos {
            let package = Path::new(proto).parent().context("a proto lies in a directory")?.display();
            arguments.push(format!("--{plugin}_opt=M{proto}=shop.example/gen/{package}"));
        }
        for proto in OF_GOOGLE {
            arguments.push(format!("--{plugin}_opt=M{proto}=google.golang.org/genproto/googleapis/api/annotations"));
        }
    }
    arguments.extend(protos.iter().map(|proto| (*proto).to_owned()));
    output("protoc", &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let gopath = format!("GOPATH={}:{}", directory.display(), std::env::var("GOPATH").unwrap_or_default());
    let program = directory.join("program").display().to_string();
    output("env", &[&gopath, "go", "build", "-o", &program, &path(source)]).await?;
    Ok(program)
}
