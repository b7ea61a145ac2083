//! Load of our own, for what h2load can't send: requests that differ, streams of messages.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// `accord-bench load`.
pub(super) struct Varied {
    program: PathBuf,
}

impl Varied {
    /// By the program of upstream and floors.
    pub(super) fn new(program: &Path) -> Self {
        Self { program: program.to_owned() }
    }

    /// Sends so many requests as the flags say; an error unless all succeed.
    pub(super) fn send(&self, address: SocketAddr, count: u32, flags: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["load", &address.to_string(), "--requests", &count.to_string()]).args(flags);
        let output = command.output().context("accord-bench could not be started")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let all = said.lines().any(|line| line == format!("ok {count}"));
        ensure!(
            output.status.success() && all,
            "not every request succeeded: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}
