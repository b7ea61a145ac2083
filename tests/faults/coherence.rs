//! The promise of the leases, while processes are killed, paused and replaced: a read that starts after an acknowledged write sees
//! it, at either gateway. `cargo xtask soak` tries the same for longer.

use accord_fabric::soak::{Kind, Shape, Soak};
use anyhow::Result;
use std::time::Duration;

/// Some seconds of it.
fn short(seed: u64, faults: &[Kind]) -> Soak {
    Soak {
        shape: Shape::OneCache,
        writes: 30,
        at_least: Duration::ZERO,
        within: Duration::from_mins(4),
        seed,
        products: 8,
        // As long as may be, so that a slow machine sees near answers.
        lease: Duration::from_millis(400),
        faults: faults.to_vec(),
        longest_pause: Duration::from_millis(1_200),
        kept_in: None,
    }
}

#[tokio::test]
async fn read_after_acknowledged_write_sees_it_while_each_process_is_killed_and_paused() -> Result<()> {
    short(1, &Kind::PROCESSES).run(|fault| println!("{fault}")).await?.verdict()
}

#[tokio::test]
async fn read_after_acknowledged_write_sees_it_while_the_cache_is_rolled_over() -> Result<()> {
    short(2, &Kind::ROLLOVERS).run(|fault| println!("{fault}")).await?.verdict()
}
