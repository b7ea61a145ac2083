//! Each process is restarted under load. `cargo xtask rolling` does the same for longer, kills them as well, and goes from the
//! binaries of one commit to those of another.

use std::{path::PathBuf, time::Duration};

use accord_fabric::{
    postgres,
    rolling::{Discovery, End, Rolling},
    tool::tool,
};
use anyhow::{Context, Result};
use tokio::sync::Mutex;

/// A mesh has a dozen processes, and its clients' calls have deadlines: on a small machine two at a time would miss them.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

fn short(rounds: usize, end: End) -> Result<Rolling> {
    Ok(Rolling {
        postgres: postgres::installed().context("PostgreSQL is installed")?,
        redis: PathBuf::from(tool("ACCORD_TEST_REDIS")?),
        rounds,
        end,
        discovery: Discovery::Balancer,
        tls: false,
        versions: None,
        products: 6,
        pace: Duration::from_millis(25),
        rest: Duration::from_millis(500),
        seed: 1,
        kept_in: None,
    })
}

async fn fails_nothing(rolling: &Rolling) -> Result<()> {
    let _alone = ONE_AT_A_TIME.lock().await;
    let report = rolling.run(|restart| println!("{restart}")).await?;
    println!("{report}");
    report.verdict()
}

// Callers go on while a server is started.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_each_process_is_restarted_in_turn_twice() -> Result<()> {
    // As in production: over TLS, while certificates and their authority are replaced.
    fails_nothing(&Rolling { tls: true, ..short(2, End::InOrder)? }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_each_process_that_is_found_by_dns_is_replaced_at_another_address() -> Result<()> {
    // Records hold for a second: longer, so that each process that came is known before the next one goes.
    let rest = Duration::from_secs(2);
    let rolling = Rolling { discovery: Discovery::Dns, rest, ..short(1, End::InOrder)? };
    fails_nothing(&rolling).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_repeatable_call_fails_while_each_process_is_killed_in_turn() -> Result<()> {
    fails_nothing(&short(1, End::Killed)?).await
}
