//! `cargo xtask crashes`: auth, killed many more times than in an ordinary run of the tests.

use std::process::Command;

use anyhow::Result;

use crate::{programs::succeed, workspace};

/// What `cargo xtask crashes` can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many times auth is killed
    #[arg(long, default_value_t = 200)]
    kills: u64,
}

/// Kills auth in the middle of its work, and holds it to what it acknowledged.
pub(crate) fn run(Args { kills }: &Args) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--package", "accord-fabric", "--test", "faults", "auth_killed", "--", "--nocapture"]);
    command.env("ACCORD_CRASHES", kills.to_string()).current_dir(workspace::root());
    succeed(command)
}
