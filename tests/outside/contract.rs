//! A contract in a build of its own: a proto that imports `accord/policy/v1/policy.proto` and `google/api`, by the lines and
//! files that the guide shows, and stubs that compile.

use crate::output;
use accord_fabric::binaries::workspace;
use anyhow::{Context, Result};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A workspace of Go, in which the team's directory lies beside a clone of Accord.
struct Team {
    directory: TempDir,
}

impl Team {
    fn new() -> Result<Self> {
        let team = Self { directory: tempfile::tempdir()? };
        copy(&workspace().join("tests/clients/contract"), &team.shop())?;
        symlink(workspace(), team.directory.path().join("src/accord"))?;
        let tools = std::env::var_os("NODE_PATH").context("NODE_PATH is set by `cargo xtask test`")?;
        symlink(tools, team.shop().join("node_modules"))?;
        Ok(team)
    }

    fn shop(&self) -> PathBuf {
        self.directory.path().join("src/shop.example")
    }

    /// Runs lines of a shell in the team's directory.
    async fn run(&self, lines: &str) -> Result<String> {
        let go = std::env::var("GOPATH").unwrap_or_default();
        let place = format!("cd {}\nexport GOPATH={}:{go}\n", self.shop().display(), self.directory.path().display());
        output("sh", &["-e", "-c", &format!("{place}{lines}")]).await
    }

    async fn follow(&self, file: &str) -> Result<()> {
        self.run(&fs::read_to_string(self.shop().join(file))?).await.map(drop)
    }

    async fn go_compiles(&self) -> Result<()> {
        self.run("go build shop.example/gen/notes/v1").await.map(drop)
    }

    async fn python_imports(&self) -> Result<()> {
        let has_policy = "from accord.policy.v1 import policy_pb2 as policy; from notes.v1 import notes_pb2 as notes; \
                          method = notes.DESCRIPTOR.services_by_name['NoteService'].methods[0]; \
                          print(method.GetOptions().Extensions[policy.method].deadline.max.seconds)";
        let seconds = self.run(&format!("PYTHONPATH=gen python3 -c \"{has_policy}\"")).await?;
        anyhow::ensure!(seconds.trim() == "10", "{seconds}");
        Ok(())
    }

    async fn typescript_compiles(&self) -> Result<()> {
        let check = "node_modules/.bin/tsc --noEmit --strict --target es2022 --module esnext --moduleResolution bundler \
                     $(find gen -name '*.ts')";
        self.run(check).await.map(drop)
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() { copy(&from, &to)? } else { fs::copy(&from, &to).map(drop)? }
    }
    Ok(())
}

#[tokio::test]
async fn stubs_of_a_contract_compile_for_go_python_and_typescript_with_protoc() -> Result<()> {
    let team = Team::new()?;
    for file in ["go.sh", "python.sh", "typescript.sh"] {
        team.follow(file).await.with_context(|| file)?;
    }
    team.go_compiles().await?;
    team.python_imports().await?;
    team.typescript_compiles().await
}

#[tokio::test]
async fn stubs_of_a_contract_compile_for_go_python_and_typescript_with_buf() -> Result<()> {
    let team = Team::new()?;
    team.follow("buf.sh").await?;
    team.go_compiles().await?;
    team.python_imports().await?;
    team.typescript_compiles().await
}
