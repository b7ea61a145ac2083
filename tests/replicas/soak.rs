//! The promise of the leases with three replicas, while processes are killed and paused, ways are cut, and the database fails over to
//! its standby. `cargo xtask soak --shape replicas` tries the same for longer.

use std::time::Duration;

use accord_fabric::soak::{Kind, Soak, Victim};
use anyhow::Result;

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
        // As long as may be, so that a slow machine sees near answers.
        lease: Duration::from_millis(400),
        longest_pause: Duration::from_millis(1_200),
        ..Soak::short_of_replicas(&FAULTS, 3, false)?
    };
    soak.run(|fault| println!("{fault}")).await?.verdict()
}
