//! `cargo xtask simulate`: the cache engine's simulation under many more seeds than an ordinary test run takes.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// What `cargo xtask simulate` can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many seeds to run, from 0 upwards. A failing seed is printed and fails the same way again.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
}

/// Selected by name over the whole workspace: one feature resolution, nothing built twice.
const SELECT: [&str; 5] = ["test", "--workspace", "--lib", "--", "simulation::"];

/// Runs the simulation; fails with the first seed that does.
pub(crate) fn run(Args { seeds }: Args) -> Result<()> {
    let known = workspace::output(env!("CARGO"), &[&SELECT[..], &["--list"]].concat())?;
    ensure!(known.contains("every_seed"), "the simulation is not where it is looked for: no test of its name exists");
    let status = Command::new(env!("CARGO"))
        .args(SELECT)
        .arg("--nocapture")
        .current_dir(workspace::root())
        .env("ACCORD_SIMULATION_SEEDS", seeds.to_string())
        .status()
        .context("cargo could not be started")?;
    ensure!(status.success(), "the simulation failed; its output names the seed");
    Ok(())
}
