//! `cargo xtask revocations`: how long revoked tokens are accepted, over many more trials than in an ordinary run of the tests.

use std::process::Command;

use anyhow::Result;

use crate::{programs::succeed, soak::any_seed, workspace};

/// What `cargo xtask revocations` can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many tokens are revoked
    #[arg(long, default_value_t = 1000)]
    trials: u64,
    /// What faults come is drawn from it; a run prints its own, and so does a failure
    #[arg(long)]
    seed: Option<u64>,
}

/// Revokes tokens at three gateways while faults come to two of them and to auth, and prints the distribution.
pub(crate) fn run(Args { trials, seed }: &Args) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--workspace", "--test", "faults", "revoked_token_is_accepted"]);
    command.args(["--", "--nocapture"]);
    command.env("ACCORD_REVOCATIONS", trials.to_string()).current_dir(workspace::root());
    command.env("ACCORD_REVOCATIONS_SEED", seed.unwrap_or_else(any_seed).to_string());
    succeed(command)
}
