//! Directed schedules of leases: what random ones meet too seldom, in all orders that matter.
//!
//! Something happens at the next look at the cache's clock but so many: a reader notes its lease between looks, and so does an
//! invalidation look for leases between looks.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;

use super::gateway::{CacheProcess, Gateway};
use super::mesh::{MAX_LEASE, Mesh, Variant, request, tag};
use super::process::Network;
use super::scheduler::{Rng, Scheduler, Simulated};
use crate::engine::Rules;
use crate::near;
use crate::{ConsistencyRequirement, ConsistencyToken, Lease, LeaseRequest, Moment};

const LATENCY: ConsistencyRequirement = ConsistencyRequirement::MinimizeLatency;
const OBJECT: u8 = 0;

/// More looks than there are.
const LOOKS: std::ops::Range<u32> = 0..12;

/// In which tasks that run at once take their turns in as many orders.
const SEEDS: std::ops::Range<u64> = 0..64;

/// A cache and two gateways, whose messages arrive at once.
struct Schedule {
    scheduler: Scheduler,
    mesh: Mesh,
    cache: Arc<CacheProcess>,
    reader: Arc<Gateway>,
    writer: Arc<Gateway>,
}

impl Schedule {
    /// With clock rates in thousandths of the cache and the gateways. The first lease time is over.
    fn begin(variant: Variant, seed: u64, [cache, reader, writer]: [u64; 3]) -> Self {
        let world = Simulated::begin(Rng::seeded(seed));
        let network = Network { world: world.clone(), is_calm: true };
        let mesh = Mesh { world: world.clone(), network, truth: Arc::default(), keys: Arc::default(), variant };
        let cache = CacheProcess::start(&mesh, 0, cache);
        let reader = Gateway::start(&mesh, &cache, 1, reader);
        let writer = Gateway::start(&mesh, &cache, if variant.holder_by_name { 1 } else { 2 }, writer);
        world.advance(nanoseconds(MAX_LEASE * 2));
        Self { scheduler: Scheduler::new(world), mesh, cache, reader, writer }
    }

    /// Runs something to its end. Time passes where it waits for that.
    fn run<T: Send + 'static>(&mut self, task: impl Future<Output = T> + Send + 'static) -> T {
        let result = Arc::new(Mutex::new(None));
        let told = Arc::clone(&result);
        self.scheduler.add(Box::pin(async move {
            let result = task.await;
            *told.lock().unwrap() = Some(result);
        }));
        for steps in 1_u64.. {
            self.scheduler.step();
            if let Some(result) = result.lock().unwrap().take() {
                return result;
            }
            if steps.is_multiple_of(10) {
                self.mesh.world.advance(100_000);
            }
        }
        unreachable!("a task that waits for nothing ends")
    }

    fn advance(&self, microseconds: u64) {
        self.mesh.world.advance(microseconds * 1_000);
    }

    fn read(&mut self) {
        self.read_at(&Arc::clone(&self.reader));
    }

    fn read_at(&mut self, gateway: &Arc<Gateway>) {
        let read = Arc::clone(gateway).read(OBJECT, LATENCY);
        self.run(read);
    }

    /// Adds a read that goes on beside what follows.
    fn begin_read(&mut self, gateway: &Arc<Gateway>) {
        let read = Arc::clone(gateway).read(OBJECT, LATENCY);
        self.scheduler.add(Box::pin(async move {
            read.await;
        }));
    }

    fn write(&mut self) {
        let write = Arc::clone(&self.writer).write(OBJECT, false, None);
        self.run(write);
    }

    /// The first invariant that broke.
    fn verdict(&self) -> Result<(), String> {
        self.mesh.truth.lock().unwrap().broken.take().map_or(Ok(()), Err)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a short time")
}

/// An invalidation comes while a reader's lease is being noted and its entry judged.
fn invalidation_during_grant(variant: Variant) -> Result<(), String> {
    for skipped in LOOKS {
        let mut schedule = Schedule::begin(variant, 0, [1_000; 3]);
        schedule.read();
        let (cache, writer, truth) = (&schedule.cache, schedule.writer.holder, Arc::clone(&schedule.mesh.truth));
        let engine = cache.engine.clone();
        let versions = truth.lock().unwrap().commit(OBJECT, Moment::default());
        cache.process.at_look(skipped, move || {
            if engine.invalidate_leased(&[tag(OBJECT)], Some(writer))[0].is_zero() {
                truth.lock().unwrap().acknowledge([versions, 0, 0]);
            }
        });
        schedule.read();
        schedule.read();
        schedule.verdict()?;
    }
    Ok(())
}

/// A lease is granted while an invalidation ends the epoch and looks for leases.
fn grant_during_invalidation(variant: Variant) -> Result<(), String> {
    for skipped in LOOKS {
        let mut schedule = Schedule::begin(variant, 0, [1_000; 3]);
        schedule.read();
        let (cache, reader) = (Arc::clone(&schedule.cache), Arc::clone(&schedule.reader));
        let process = cache.process.clone();
        process.at_look(skipped, move || {
            let wish = LeaseRequest { holder: reader.holder, duration: MAX_LEASE, is_bounded: false };
            let (asked, read) = (reader.near.begin(), request(OBJECT, LATENCY, Some(wish)));
            // Only what is in memory comes at once.
            let Some(Ok(answer)) = cache.engine.read(&read).now_or_never() else { return };
            if let Some(granted) = &answer.lease {
                let (age, left, tags) = (answer.age, answer.lifetime, (*granted.tags).into());
                let sample = super::mesh::decode(answer.load.as_ref().expect("the origin does not fail"));
                let lease = Lease { duration: granted.duration, age, left, tags };
                let _ = reader.near.fill(asked, OBJECT, Arc::new((sample, ConsistencyToken::default())), 100, lease);
            }
        });
        schedule.write();
        schedule.cache.process.at_no_look();
        schedule.read();
        schedule.verdict()?;
    }
    Ok(())
}

/// An answer is invalidated after it was stored, and before a reader who waited for it goes on.
fn invalidation_before_waiter_goes_on(variant: Variant) -> Result<(), String> {
    for skipped in LOOKS {
        let mut schedule = Schedule::begin(variant, 0, [1_000; 3]);
        // Missed once, so that the next miss asks for a lease.
        schedule.reader.near.is_wanted(&OBJECT, MAX_LEASE);
        let (writer, truth) = (schedule.writer.holder, Arc::clone(&schedule.mesh.truth));
        let (engine, process) = (schedule.cache.engine.clone(), schedule.cache.process.clone());
        process.at_look(skipped, move || {
            let mut truth = truth.lock().unwrap();
            let version = truth.commit(OBJECT, Moment::default());
            if engine.invalidate_leased(&[tag(OBJECT)], Some(writer))[0].is_zero() {
                truth.acknowledge([version, 0, 0]);
            }
        });
        schedule.read();
        schedule.read();
        schedule.verdict()?;
    }
    Ok(())
}

/// A write comes when a lease is nearly over, where the clocks of all differ as much as they may.
fn write_at_the_end_of_a_lease(variant: Variant) -> Result<(), String> {
    for microseconds in (190_000..205_000).step_by(250) {
        let mut schedule = Schedule::begin(variant, 0, [1_010, 990, 1_010]);
        (0..2).for_each(|_| schedule.read());
        schedule.advance(microseconds);
        schedule.write();
        for _ in 0..20 {
            schedule.read();
            schedule.advance(100);
        }
        schedule.verdict()?;
    }
    Ok(())
}

/// A successor of the cache begins, and loads, before the old process has acknowledged its last write.
fn write_at_old_cache_beside_new(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::begin(variant, 0, [1_000; 3]);
    schedule.cache.lingers.store(true, Ordering::Relaxed);
    let new = CacheProcess::start(&schedule.mesh, 1, 1_000);
    *schedule.reader.cache.lock().unwrap() = new;
    (0..2).for_each(|_| schedule.read());
    schedule.write();
    schedule.read();
    schedule.verdict()
}

/// The cache is restarted while a gateway holds a lease of the process before.
fn write_after_restart(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::begin(variant, 0, [1_000; 3]);
    (0..2).for_each(|_| schedule.read());
    schedule.cache.process.end();
    *schedule.writer.cache.lock().unwrap() = CacheProcess::start(&schedule.mesh, 1, 1_000);
    schedule.write();
    schedule.read();
    schedule.verdict()
}

/// A reader asks the successor while one of its loads has read what the old process is about to acknowledge.
fn write_at_old_cache_during_load_of_new(variant: Variant) -> Result<(), String> {
    for seed in SEEDS {
        let mut schedule = Schedule::begin(variant, seed, [1_000; 3]);
        schedule.cache.lingers.store(true, Ordering::Relaxed);
        let (new, reader) = (CacheProcess::start(&schedule.mesh, 1, 1_000), Arc::clone(&schedule.reader));
        *reader.cache.lock().unwrap() = Arc::clone(&new);
        schedule.begin_read(&reader);
        while schedule.mesh.truth.lock().unwrap().samples == 0 {
            schedule.scheduler.step();
        }
        new.process.pause(Duration::from_millis(50));
        schedule.write();
        schedule.advance(50_000);
        schedule.read();
        schedule.verdict()?;
    }
    Ok(())
}

/// Both gateways read at once, in many orders; in every other one, what they read is in memory already. Then comes a write.
fn write_after_concurrent_reads(variant: Variant) -> Result<(), String> {
    for seed in SEEDS {
        let (mut schedule, gateways) = begin_reads(variant, seed);
        while schedule.scheduler.step() {}
        schedule.write();
        for gateway in &gateways {
            schedule.read_at(gateway);
        }
        schedule.verdict()?;
    }
    Ok(())
}

/// The same with the write among the reads.
fn write_among_concurrent_reads(variant: Variant) -> Result<(), String> {
    for seed in SEEDS {
        let (mut schedule, gateways) = begin_reads(variant, seed);
        schedule.write();
        while schedule.scheduler.step() {}
        for gateway in &gateways {
            schedule.read_at(gateway);
        }
        schedule.verdict()?;
    }
    Ok(())
}

fn begin_reads(variant: Variant, seed: u64) -> (Schedule, [Arc<Gateway>; 2]) {
    let mut schedule = Schedule::begin(variant, seed, [1_000; 3]);
    let gateways = [Arc::clone(&schedule.writer), Arc::clone(&schedule.reader)];
    for gateway in &gateways {
        // Missed once, so that the next miss asks for a lease.
        gateway.near.is_wanted(&OBJECT, MAX_LEASE);
    }
    if seed.is_multiple_of(2) {
        let cache = Arc::clone(&schedule.cache);
        schedule.run(async move { cache.read(&request(OBJECT, LATENCY, None)).await.is_some() });
    }
    for gateway in &gateways {
        schedule.begin_read(gateway);
    }
    (schedule, gateways)
}

/// The writer holds the longest lease, and the reader a shorter one.
fn write_of_the_longest_holder(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::begin(variant, 0, [1_000; 3]);
    let writer = Arc::clone(&schedule.writer);
    (0..2).for_each(|_| schedule.read());
    schedule.advance(1_000);
    (0..2).for_each(|_| schedule.read_at(&writer));
    schedule.write();
    schedule.read();
    schedule.verdict()
}

type Directed = fn(Variant) -> Result<(), String>;

const SCHEDULES: [Directed; 10] = [
    invalidation_during_grant,
    grant_during_invalidation,
    invalidation_before_waiter_goes_on,
    write_at_the_end_of_a_lease,
    write_at_old_cache_beside_new,
    write_after_restart,
    write_at_old_cache_during_load_of_new,
    write_after_concurrent_reads,
    write_among_concurrent_reads,
    write_of_the_longest_holder,
];

#[test]
fn every_schedule_keeps_the_promise_of_leases() {
    for schedule in SCHEDULES {
        schedule(Variant::ALL).unwrap();
    }
}

/// Without a rule, the schedule that is about it breaks the promise: a read sees less than what was acknowledged before it.
fn assert_fails(schedule: Directed, variant: Variant) {
    let broken = schedule(variant).expect_err("nothing was noticed");
    assert!(broken.starts_with("I6"), "{broken}");
}

fn without(rules: impl FnOnce(&mut Rules)) -> Variant {
    let mut variant = Variant::ALL;
    rules(&mut variant.rules);
    variant
}

#[test]
fn judged_before_noted_schedule_fails() {
    assert_fails(invalidation_during_grant, without(|rules| rules.noted_before_judged = false));
}

#[test]
fn leases_read_before_epoch_ends_schedule_fails() {
    assert_fails(grant_during_invalidation, without(|rules| rules.epoch_ends_before_look = false));
}

#[test]
fn lease_on_invalid_answer_schedule_fails() {
    assert_fails(invalidation_before_waiter_goes_on, without(|rules| rules.valid_answers_leased_alone = false));
}

#[test]
fn epoch_taken_at_the_end_of_load_schedule_fails() {
    assert_fails(invalidation_before_waiter_goes_on, without(|rules| rules.start_epochs = false));
}

#[test]
fn one_note_for_each_flight_schedule_fails() {
    assert_fails(write_after_concurrent_reads, without(|rules| rules.noted_for_each_waiter = false));
}

#[test]
fn only_the_longest_holder_kept_schedule_fails() {
    assert_fails(write_of_the_longest_holder, without(|rules| rules.two_holders_kept = false));
}

#[test]
fn holder_by_name_schedule_fails() {
    assert_fails(write_of_the_longest_holder, Variant { holder_by_name: true, ..Variant::ALL });
}

#[test]
fn copies_dropped_when_invalidation_is_sent_schedule_fails() {
    assert_fails(write_among_concurrent_reads, Variant { drops_when_sending: true, ..Variant::ALL });
}

#[test]
fn answer_asked_for_before_acknowledgement_kept_schedule_fails() {
    let near = near::Rules { older_fills_refused: false, ..near::Rules::ALL };
    assert_fails(write_among_concurrent_reads, Variant { near, ..Variant::ALL });
}

#[test]
fn share_of_lease_below_difference_of_clocks_schedule_fails() {
    // Who renews the lease would be told the new value.
    let near = near::Rules { holder_share: 0.99, renewed_after: 1.0, ..near::Rules::ALL };
    assert_fails(write_at_the_end_of_a_lease, Variant { near, ..Variant::ALL });
}

#[test]
fn acknowledgement_in_first_lease_time_schedule_fails() {
    assert_fails(write_after_restart, without(|rules| rules.first_time_acknowledges_nothing = false));
}

#[test]
fn grant_in_first_lease_time_schedule_fails() {
    assert_fails(write_at_old_cache_beside_new, without(|rules| rules.first_time_grants_nothing = false));
}

#[test]
fn joined_load_in_first_lease_time_schedule_fails() {
    assert_fails(write_at_old_cache_during_load_of_new, without(|rules| rules.first_time_joins_nothing = false));
}

#[test]
fn load_of_first_lease_time_kept_schedule_fails() {
    assert_fails(write_at_old_cache_beside_new, without(|rules| rules.first_time_keeps_nothing = false));
}
