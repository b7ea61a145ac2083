//! The promise of the leases while packets of replicas and gateways are lost in one direction or in both.
//! `cargo xtask soak --shape replicas --namespaces` tries the same for longer.

use accord_fabric::soak::{Kind, Soak, Victim};
use anyhow::Result;

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
    let soak = Soak::short_of_replicas(&FAULTS, 5, true)?;
    soak.run(|fault| println!("{fault}")).await?.verdict()
}
