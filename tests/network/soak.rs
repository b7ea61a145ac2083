//! The promise of the leases while packets of replicas and gateways are lost in one direction or in both.
//! `cargo xtask soak --shape replicas --namespaces` tries the same for longer.

use std::{path::PathBuf, time::Duration};

use accord_fabric::{
    postgres,
    soak::{Kind, Shape, Soak, Victim},
    tool::tool,
};
use anyhow::{Context, Result};

/// Each direction once, at replicas and at gateways.
const FAULTS: [Kind; 5] = [
    Kind::Isolate(Victim::Cache(0)),
    Kind::Mute(Victim::Cache(1)),
    Kind::Deafen(Victim::Cache(2)),
    Kind::Mute(Victim::Gateway(1)),
    Kind::Deafen(Victim::Gateway(0)),
];

// Readers and writers go on while a wire is changed.
#[tokio::test(flavor = "multi_thread")]
async fn read_after_acknowledged_write_sees_it_while_packets_are_lost() -> Result<()> {
    let soak = Soak {
        shape: Shape::Replicas {
            programs: postgres::installed().context("PostgreSQL is installed")?,
            redis: PathBuf::from(tool("ACCORD_TEST_REDIS")?),
            prices: 2,
            is_wired: true,
        },
        writes: 20,
        at_least: Duration::ZERO,
        within: Duration::from_mins(4),
        seed: 5,
        products: 8,
        lease: Duration::from_millis(200),
        faults: FAULTS.to_vec(),
        longest_pause: Duration::from_millis(1_500),
        kept_in: None,
    };
    soak.run(|fault| println!("{fault}")).await?.verdict()
}
