//! Each process is restarted under load. `cargo xtask rolling` does the same for longer, kills them as well, and goes from the
//! binaries of one commit to those of another.

use std::{path::PathBuf, time::Duration};

use accord_fabric::{
    postgres,
    rolling::{End, Rolling},
    tool::tool,
};
use anyhow::{Context, Result};

fn short(rounds: usize, end: End) -> Result<Rolling> {
    Ok(Rolling {
        postgres: postgres::installed().context("PostgreSQL is installed")?,
        redis: PathBuf::from(tool("ACCORD_TEST_REDIS")?),
        rounds,
        end,
        versions: None,
        products: 6,
        pace: Duration::from_millis(25),
        rest: Duration::from_millis(500),
        seed: 1,
        kept_in: None,
    })
}

// Callers go on while a server is started.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_each_process_is_restarted_in_turn_twice() -> Result<()> {
    let report = short(2, End::InOrder)?.run(|restart| println!("{restart}")).await?;
    println!("{report}");
    report.verdict()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_repeatable_call_fails_while_each_process_is_killed_in_turn() -> Result<()> {
    let report = short(1, End::Killed)?.run(|restart| println!("{restart}")).await?;
    println!("{report}");
    report.verdict()
}
