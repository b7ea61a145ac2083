//! `cargo xtask hit-ratio`: how many reads of popular keys the cache answers from memory, beside an LRU of the same bytes.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// What `cargo xtask hit-ratio` can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Reads of each trace
    #[arg(long, default_value_t = 600_000)]
    reads: u32,
}

/// Selected by name over the whole workspace: one feature resolution, nothing built twice.
const SELECT: [&str; 7] = ["test", "--quiet", "--workspace", "--lib", "--", "--nocapture", "hit_ratio::"];

/// Prints the table; fails where popular keys are found more seldom than by the LRU.
pub(crate) fn run(Args { reads }: Args) -> Result<()> {
    let output = Command::new(env!("CARGO"))
        .args(SELECT)
        .current_dir(workspace::root())
        .env("ACCORD_HIT_RATIO_READS", reads.to_string())
        .status()
        .context("cargo could not be started")?;
    ensure!(output.success(), "popular keys are found too seldom; the output says of which trace");
    Ok(())
}
