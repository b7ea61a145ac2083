//! Tools that nobody here wrote. They come from the environment that `cargo xtask test` prepares.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// The path of a tool.
pub fn tool(variable: &str) -> Result<String> {
    std::env::var(variable).with_context(|| format!("{variable} is not set: run these tests with `cargo xtask test`"))
}

/// Runs a tool to its end and returns what it printed.
pub async fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_mins(3), command.output()).await??;
    let problem = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} ended with {}: {problem}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
