//! `cargo xtask simulate`: the cache engine's simulation under many more seeds than an ordinary test run takes.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// What `cargo xtask simulate` can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many seeds to run, of 2,000 operations each, in each of the three simulations: engine, leases, replicas
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them. A failing seed is printed, fails the same way again, and is shortened to the operations that it needs
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// On how many threads. Default: one for each core
    #[arg(long)]
    threads: Option<usize>,
}

/// Selected by name over the whole workspace: one feature resolution, nothing built twice. One after the other, so that what each
/// says of its speed is true.
const SELECT: [&str; 6] = ["test", "--workspace", "--lib", "--", "every_seed_keeps", "--test-threads=1"];

/// Runs the simulation; fails with the first seed that does.
pub(crate) fn run(Args { seeds, from, threads }: Args) -> Result<()> {
    let known = workspace::output(env!("CARGO"), &[&SELECT[..], &["--list"]].concat())?;
    ensure!(known.contains("every_seed"), "the simulation is not where it is looked for: no test of its name exists");
    let mut command = Command::new(env!("CARGO"));
    command.args(SELECT).arg("--nocapture").current_dir(workspace::root());
    command.env("ACCORD_SIMULATION_SEEDS", seeds.to_string()).env("ACCORD_SIMULATION_FROM", from.to_string());
    if let Some(threads) = threads {
        command.env("ACCORD_SIMULATION_THREADS", threads.to_string());
    }
    let status = command.status().context("cargo could not be started")?;
    ensure!(status.success(), "the simulation failed; its output names the seed");
    Ok(())
}
