//! Directed schedules of replicas: what random ones meet too seldom. One gateway writes by way of a replica, another one reads from
//! a second one, which holds an answer and verifies only when it is told to. Messages arrive at once, but for those that are
//! delayed.

mod another_log;
mod failover;
mod keys;
pub(super) mod schedule;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::gateway::Gateway;
use super::log::LogRules;
use super::mesh::{Variant, tag};
use super::replica_process::REPLICA_LEASE;
use crate::World;
use crate::engine::Rules;
use crate::replica;
use schedule::{OBJECT, Schedule};

const OTHER: u8 = 2;

/// More looks at the clock than there are.
const LOOKS: std::ops::Range<u32> = 0..12;

/// In which tasks that run at once take their turns in as many orders.
const SEEDS: std::ops::Range<u64> = 0..64;

/// The second replica has fallen silent.
fn write_beside_silent_replica(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::with_answer(variant, [1_000; 2]);
    schedule.write(OBJECT);
    schedule.read();
    schedule.verdict()
}

/// The answer to a verification comes late, and the write is not in it.
fn write_during_late_verification(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::with_answer(variant, [1_000; 2]);
    let replica = schedule.near_reader.replica().clone();
    replica.faults.verified_later.store(280_000_000, Ordering::Relaxed);
    schedule.start(async move { replica.replica.verify().await.is_ok() });
    schedule.pass(Duration::from_millis(1));
    schedule.write(OBJECT);
    schedule.read();
    schedule.verdict()
}

/// The second replica verifies while an append is on its way.
fn verification_during_late_append(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::with_answer(variant, [1_000; 2]);
    schedule.near_writer.replica().faults.append_later.store(250_000_000, Ordering::Relaxed);
    let write = Arc::clone(&schedule.writer).write_logged(OBJECT, false, None);
    let written = schedule.start(write);
    schedule.pass(Duration::from_millis(240));
    schedule.verify();
    while written.lock().unwrap().is_none() {
        schedule.pass(Duration::from_millis(1));
    }
    schedule.read();
    schedule.verdict()
}

/// The same of a replica that had been struck off, and is back while an append is on its way.
fn return_during_late_append(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::with_answer(variant, [1_000; 2]);
    schedule.pass(REPLICA_LEASE * 2);
    schedule.near_writer.replica().faults.append_later.store(20_000_000, Ordering::Relaxed);
    let write = Arc::clone(&schedule.writer).write_logged(OBJECT, false, None);
    let written = schedule.start(write);
    schedule.pass(Duration::from_millis(10));
    schedule.verify();
    while written.lock().unwrap().is_none() {
        schedule.pass(Duration::from_millis(1));
    }
    schedule.read();
    schedule.verdict()
}

/// The database's clock is set forward.
fn write_after_clock_of_database_is_set(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::with_answer(variant, [1_000; 2]);
    schedule.database.set_clock(5);
    schedule.write(OBJECT);
    schedule.read();
    schedule.verdict()
}

/// The second replica verifies shortly before the first one takes it for silent. `is_repeated`: and an older verification of it
/// comes once more.
fn strike_of_verified_replica(variant: Variant, is_repeated: bool) -> Result<(), String> {
    let mut schedule = Schedule::with_answer(variant, [1_000; 2]);
    let first = schedule.near_writer.replica().clone();
    schedule.pass(REPLICA_LEASE / 2);
    first.is_idle.store(true, Ordering::Relaxed);
    let members = schedule.database.members();
    let older = *members.iter().find(|member| member.replica == 2).expect("it is registered");
    schedule.pass(REPLICA_LEASE.mul_f64(0.9));
    schedule.verify();
    if is_repeated {
        schedule.database.repeat(older);
    }
    schedule.run(async move { first.replica.verify().await }).unwrap();
    schedule.write(OBJECT);
    schedule.read();
    schedule.verdict()
}

fn strike_of_replica_that_verified(variant: Variant) -> Result<(), String> {
    strike_of_verified_replica(variant, false)
}

fn strike_after_repeated_verification(variant: Variant) -> Result<(), String> {
    strike_of_verified_replica(variant, true)
}

/// A read comes while a replica that was away catches up.
fn read_during_catching_up(variant: Variant) -> Result<(), String> {
    for skipped in LOOKS {
        let mut schedule = Schedule::with_answer(variant, [1_000; 2]);
        schedule.write(OTHER);
        schedule.write(OBJECT);
        schedule.near_reader.process.at_look(skipped, schedule.look_into_memory());
        schedule.verify();
        schedule.verdict()?;
    }
    Ok(())
}

/// A replica that was away catches up while a read is being judged.
fn catching_up_during_read(variant: Variant) -> Result<(), String> {
    for skipped in LOOKS {
        let mut schedule = Schedule::with_answer(variant, [1_000; 2]);
        schedule.write(OBJECT);
        let (engine, until) = (schedule.near_reader.engine.clone(), schedule.mesh.world.now().after(REPLICA_LEASE));
        schedule.near_reader.process.at_look(skipped, move || {
            engine.end_epochs(&[tag(OBJECT)], None);
            engine.verified_until(until);
        });
        schedule.read();
        schedule.verdict()?;
    }
    Ok(())
}

/// A replica is paused during a load, until the write is acknowledged without it. Then comes a reader.
fn write_during_load_of_paused_replica(variant: Variant) -> Result<(), String> {
    for seed in SEEDS {
        let mut schedule = Schedule::begin(variant, seed, [1_000; 2]);
        schedule.near_reader.replica().is_idle.store(true, Ordering::Relaxed);
        schedule.begin_load();
        schedule.near_reader.process.pause(REPLICA_LEASE + Duration::from_millis(20));
        schedule.write(OBJECT);
        schedule.read();
        schedule.verdict()?;
    }
    Ok(())
}

/// A replica was away for longer than the log keeps what it missed.
fn return_after_log_was_trimmed(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::with_answer(variant, [1_000; 2]);
    schedule.write(OBJECT);
    for _ in 0..40 {
        schedule.write(OTHER);
    }
    schedule.verify();
    schedule.read();
    schedule.verdict()
}

/// A lease is granted when the time of the replica that grants it is nearly over.
fn near_lease_at_the_end_of_verification(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::with_answer(variant, [1_000; 2]);
    let written = schedule.begin_write();
    schedule.pass(REPLICA_LEASE.mul_f64(0.94));
    (0..2).for_each(|_| schedule.read());
    while written.lock().unwrap().is_none() {
        schedule.pass(Duration::from_millis(1));
    }
    schedule.read();
    schedule.verdict()
}

/// Somebody holds a near lease of the second replica, which hears of the write at once.
fn write_under_near_lease_of_other_replica(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::begin(variant, 0, [1_000; 2]);
    (0..3).for_each(|_| schedule.read());
    schedule.write(OBJECT);
    schedule.read();
    schedule.verdict()
}

/// The writer reads from the second replica, before this one has heard of its write.
fn read_of_writer_before_confirmation(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::with_answer(variant, [1_000; 2]);
    let writer = Arc::clone(&schedule.writer);
    let written = schedule.begin_write();
    schedule.pass(Duration::from_millis(2));
    writer.see(std::slice::from_ref(&schedule.near_reader));
    (0..3).for_each(|_| schedule.read_at(&writer));
    schedule.near_reader.replica().is_idle.store(false, Ordering::Relaxed);
    while written.lock().unwrap().is_none() {
        schedule.pass(Duration::from_millis(1));
    }
    schedule.read_at(&writer);
    schedule.verdict()
}

/// Clocks differ as much as they may, and the second replica answers for as long as it may.
fn read_at_the_end_of_verification(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::with_answer(variant, [1_010, 990]);
    schedule.begin_write();
    schedule.pass(REPLICA_LEASE.mul_f64(0.95));
    for _ in 0..100 {
        schedule.read();
        schedule.pass(Duration::from_micros(200));
    }
    schedule.verdict()
}

type Directed = fn(Variant) -> Result<(), String>;

const SCHEDULES: [Directed; 14] = [
    write_beside_silent_replica,
    write_during_late_verification,
    verification_during_late_append,
    return_during_late_append,
    write_after_clock_of_database_is_set,
    strike_of_replica_that_verified,
    strike_after_repeated_verification,
    read_during_catching_up,
    catching_up_during_read,
    write_during_load_of_paused_replica,
    return_after_log_was_trimmed,
    near_lease_at_the_end_of_verification,
    write_under_near_lease_of_other_replica,
    read_of_writer_before_confirmation,
];

#[test]
fn every_schedule_keeps_the_promise_of_replicas() {
    for schedule in SCHEDULES.into_iter().chain([read_at_the_end_of_verification as Directed]) {
        schedule(Variant::ALL).unwrap();
    }
}

/// Without a rule, the schedule that is about it breaks the promise: a read sees less than what was acknowledged before it.
fn assert_fails(schedule: Directed, variant: Variant) {
    let broken = schedule(variant).expect_err("nothing was noticed");
    assert!(broken.starts_with("I6"), "{broken}");
}

fn without(rules: impl FnOnce(&mut replica::Rules)) -> Variant {
    let mut variant = Variant::ALL;
    rules(&mut variant.replica);
    variant
}

fn log_without(rules: impl FnOnce(&mut LogRules)) -> Variant {
    let mut variant = Variant::ALL;
    rules(&mut variant.log);
    variant
}

fn engine_without(rules: impl FnOnce(&mut Rules)) -> Variant {
    let mut variant = Variant::ALL;
    rules(&mut variant.rules);
    variant
}

#[test]
fn unverified_replica_that_answers_schedule_fails() {
    assert_fails(write_beside_silent_replica, engine_without(|rules| rules.unverified_answers_nothing = false));
}

#[test]
fn verification_counted_from_reply_schedule_fails() {
    assert_fails(write_during_late_verification, without(|rules| rules.counted_from_sending = false));
}

#[test]
fn lease_counted_from_sending_of_append_schedule_fails() {
    assert_fails(verification_during_late_append, without(|rules| rules.counted_from_return = false));
}

#[test]
fn register_not_read_in_append_schedule_fails() {
    assert_fails(return_during_late_append, log_without(|rules| rules.register_read_in_append = false));
}

#[test]
fn registration_that_expires_schedule_fails() {
    assert_fails(write_after_clock_of_database_is_set, log_without(|rules| rules.registrations_stay = false));
}

#[test]
fn replica_struck_off_whatever_its_counter_schedule_fails() {
    assert_fails(strike_of_replica_that_verified, log_without(|rules| rules.strikes_the_silent_alone = false));
}

#[test]
fn older_verification_in_place_of_newer_one_schedule_fails() {
    assert_fails(strike_after_repeated_verification, log_without(|rules| rules.higher_counter_stays = false));
}

#[test]
fn verified_before_epochs_are_ended_schedule_fails() {
    assert_fails(read_during_catching_up, without(|rules| rules.applied_before_verified = false));
}

#[test]
fn epochs_judged_before_verification_schedule_fails() {
    assert_fails(catching_up_during_read, engine_without(|rules| rules.verified_before_judged = false));
}

#[test]
fn older_load_joined_by_unverified_replica_schedule_fails() {
    let variant = engine_without(|rules| rules.older_loads_joined_if_verified = false);
    assert_fails(write_during_load_of_paused_replica, variant);
}

#[test]
fn gap_in_log_ignored_schedule_fails() {
    assert_fails(return_after_log_was_trimmed, without(|rules| rules.gap_begins_anew = false));
}

#[test]
fn near_lease_longer_than_verification_schedule_fails() {
    assert_fails(
        near_lease_at_the_end_of_verification,
        engine_without(|rules| rules.leases_end_with_verification = false),
    );
}

#[test]
fn confirmation_before_near_leases_are_over_schedule_fails() {
    assert_fails(write_under_near_lease_of_other_replica, without(|rules| rules.confirmed_after_leases = false));
}

#[test]
fn copies_dropped_when_append_is_answered_schedule_fails() {
    assert_fails(read_of_writer_before_confirmation, Variant { drops_when_sending: true, ..Variant::ALL });
}

#[test]
fn share_of_verification_below_difference_of_clocks_schedule_fails() {
    assert_fails(read_at_the_end_of_verification, without(|rules| rules.holder_share = 0.99));
}

/// A sender tells each batch to another replica, another one joins, and leaves in order.
#[test]
fn sender_that_moves_between_replicas_costs_no_flush() {
    let mut schedule = Schedule::begin(Variant::ALL, 0, [1_000; 2]);
    let (replicas, writer) =
        ([Arc::clone(&schedule.near_writer), Arc::clone(&schedule.near_reader)], Arc::clone(&schedule.writer));
    for turn in 0..10 {
        writer.see(std::slice::from_ref(&replicas[turn % 2]));
        schedule.write(OBJECT);
    }
    let goodbye = Arc::clone(&schedule.reader).say_goodbye();
    schedule.run(goodbye);
    let newcomer = Gateway::start(&schedule.mesh, &replicas[0], 13, 1_000);
    newcomer.see(&replicas);
    schedule.start(newcomer.announce());
    schedule.pass(Duration::from_secs(3));
    assert_eq!(schedule.database.flushes(), 0);
}

/// One that dies does cost one, when another one comes.
#[test]
fn sender_that_dies_costs_a_flush_whoever_hears_of_newcomer() {
    let mut schedule = Schedule::begin(Variant::ALL, 0, [1_000; 2]);
    schedule.reader.process.end();
    let newcomer = Gateway::start(&schedule.mesh, &schedule.near_reader, 13, 1_000);
    newcomer.see(std::slice::from_ref(&schedule.near_reader));
    schedule.start(newcomer.announce());
    schedule.pass(Duration::from_secs(3));
    assert_eq!(schedule.database.flushes(), 1);
}
