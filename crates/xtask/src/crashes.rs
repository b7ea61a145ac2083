//! `cargo xtask crashes`: auth, killed many more times than in an ordinary run of the tests.

use std::process::Command;

use anyhow::Result;

use crate::{postgres, programs::succeed, workspace};

/// What `cargo xtask crashes` can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many times auth is killed at any moment, with its store on SQLite
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// Only kill it at each step of what it does, with its store on PostgreSQL
    #[arg(long, conflicts_with = "kills")]
    steps: bool,
}

/// Kills auth in the middle of its work, and holds it to what it acknowledged.
pub(crate) fn run(Args { kills, steps }: &Args) -> Result<()> {
    // Fails here, with what to install, rather than in the suite.
    postgres::programs()?;
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--workspace", "--test", "replicas"]);
    if !steps {
        command.args(["--test", "faults"]);
    }
    command.args(["auth_killed", "--", "--nocapture"]);
    command.env("ACCORD_CRASH_STEPS", "all").env("ACCORD_CRASHES", kills.to_string());
    command.current_dir(workspace::root());
    succeed(command)
}
