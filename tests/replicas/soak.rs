//! The promise of the leases with three replicas, while processes are killed and paused, ways are cut, and the database fails over to
//! its standby. `cargo xtask soak --shape replicas` tries the same for longer.

use std::{path::PathBuf, time::Duration};

use accord_fabric::{
    postgres,
    soak::{Kind, Shape, Soak, Victim},
    tool::tool,
};
use anyhow::{Context, Result};

/// Some of what happens to replicas.
const FAULTS: [Kind; 7] = [
    Kind::Kill(Victim::Cache(0)),
    Kind::Pause(Victim::Cache(1)),
    Kind::PartReplica(2),
    Kind::PartGateway(1),
    Kind::PauseDatabase,
    Kind::FailOver,
    Kind::KillSecondLevel,
];

// Readers and writers go on while a server is started.
#[tokio::test(flavor = "multi_thread")]
async fn read_after_acknowledged_write_sees_it_while_the_database_fails_over_and_ways_are_cut() -> Result<()> {
    let soak = Soak {
        shape: Shape::Replicas {
            programs: postgres::installed().context("PostgreSQL is installed")?,
            redis: PathBuf::from(tool("ACCORD_TEST_REDIS")?),
            prices: 2,
            is_wired: false,
        },
        writes: 20,
        at_least: Duration::ZERO,
        within: Duration::from_mins(4),
        seed: 3,
        products: 8,
        // As long as may be, so that a slow machine sees near answers.
        lease: Duration::from_millis(400),
        faults: FAULTS.to_vec(),
        longest_pause: Duration::from_millis(1_200),
        kept_in: None,
    };
    soak.run(|fault| println!("{fault}")).await?.verdict()
}
