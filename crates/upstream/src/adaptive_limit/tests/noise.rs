//! The same on a machine that others use as well: answers come late in bursts, and the gateway's own process stands still.

use super::world::*;
use super::*;

const SEEDS: u64 = 3;

async fn calm(seed: u64) -> World {
    let world = World::seeded(WORKERS, seed << 7).noisy();
    let [calm] = world.run(10, [Load::of(CAPACITY / 2.0)]).await;
    assert_eq!(calm.shed, 0, "seed {seed}");
    world
}

#[tokio::test(start_paused = true)]
async fn goodput_at_three_times_the_capacity_stays_at_its_peak_on_a_busy_machine() {
    for seed in 0..SEEDS {
        let [peak] = settled(&calm(seed).await, [Load::of(CAPACITY * 0.95)]).await;
        let [over] = settled(&calm(seed).await, [Load::of(CAPACITY * 3.0)]).await;
        assert!(over.good() >= 0.9 * peak.good(), "seed {seed}: {} of {}", over.good(), peak.good());
    }
}

#[tokio::test(start_paused = true)]
async fn goodput_a_little_over_the_capacity_stays_at_its_peak_on_a_busy_machine() {
    for seed in 0..SEEDS {
        for offered in [1.05, 1.1, 1.25] {
            let [over] = settled(&calm(seed).await, [Load::of(CAPACITY * offered)]).await;
            assert!(over.good() >= 0.9 * CAPACITY * 20.0, "seed {seed}, {offered} capacities: {}", over.good());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn admitted_calls_are_answered_in_time_on_a_busy_machine() {
    for seed in 0..SEEDS {
        let [over] = settled(&calm(seed).await, [Load::of(CAPACITY * 3.0)]).await;
        assert!(over.late * 100 <= over.offered, "seed {seed}: {} late", over.late);
        // The longest stall and the longest burst, 250 ms together, are no doing of the limit.
        assert!(over.p99() <= SERVICE * 3 + Duration::from_millis(250), "seed {seed}: {:?}", over.p99());
    }
}

#[tokio::test(start_paused = true)]
async fn critical_calls_are_served_while_sheddable_ones_are_shed_on_a_busy_machine() {
    let critical = Load::of(CAPACITY * 0.5);
    let sheddable = Load { criticality: Criticality::Sheddable, ..Load::of(CAPACITY * 2.5) };
    for seed in 0..SEEDS {
        let [critical, sheddable] = settled(&calm(seed).await, [critical, sheddable]).await;
        assert!(critical.share_shed() < 0.05, "seed {seed}: {}", critical.share_shed());
        assert!(sheddable.share_shed() > 0.7, "seed {seed}: {}", sheddable.share_shed());
    }
}

#[tokio::test(start_paused = true)]
async fn upstream_without_a_queue_is_served_on_a_busy_machine() {
    for seed in 0..SEEDS {
        let world = World::seeded(10_000, seed << 7).noisy();
        let [served] = world.run(60, [Load::of(1_000.0)]).await;
        assert_eq!(served.shed, 0, "seed {seed}");
    }
}
