//! `cargo xtask revocations`: how long revoked tokens are accepted, over many more trials than in an ordinary run of the tests.

use std::process::Command;

use anyhow::Result;

use crate::{programs::succeed, workspace};

/// What `cargo xtask revocations` can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many tokens are revoked
    #[arg(long, default_value_t = 1000)]
    trials: u64,
}

/// Revokes tokens at three gateways, of which one is cut off at times and one stopped, and prints the distribution.
pub(crate) fn run(Args { trials }: &Args) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--package", "accord-fabric", "--test", "faults", "revoked_token_is_accepted"]);
    command.args(["--", "--nocapture"]);
    command.env("ACCORD_REVOCATIONS", trials.to_string()).current_dir(workspace::root());
    succeed(command)
}
