//! A database fails over to a server that has less than it had committed, and the lost numbers are given once more. Nobody can know
//! of the invalidations that are lost; those after them must not be missed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::schedule::{OBJECT, Schedule};
use super::{Directed, assert_fails, log_without, without};
use crate::simulation::log::Stored;
use crate::simulation::mesh::Variant;
use crate::simulation::replica_process::REPLICA_LEASE;

/// The second replica has read two numbers, and then an answer, before the database loses them; the first one has not. What the
/// database has left comes with it.
fn with_answer_from_after_what_is_lost(variant: Variant) -> (Schedule, Stored) {
    let mut schedule = Schedule::begin(variant, 0, [1_000; 2]);
    let writer = Arc::clone(&schedule.writer);
    schedule.near_writer.replica().is_idle.store(true, Ordering::Relaxed);
    let kept = schedule.database.stored();
    writer.see(std::slice::from_ref(&schedule.near_reader));
    (0..2).for_each(|_| drop(schedule.begin_write()));
    schedule.pass(Duration::from_millis(1));
    schedule.read();
    writer.see(std::slice::from_ref(&schedule.near_writer));
    schedule.near_writer.replica().is_idle.store(false, Ordering::Relaxed);
    schedule.near_reader.replica().is_idle.store(true, Ordering::Relaxed);
    schedule.verify();
    (schedule, kept)
}

/// The lost numbers are given to writes by way of the first replica before the second one verifies.
fn verification_after_lost_numbers_were_given_again(variant: Variant) -> Result<(), String> {
    let (mut schedule, kept) = with_answer_from_after_what_is_lost(variant);
    schedule.database.fail_over(kept);
    let written = [schedule.begin_write(), schedule.begin_write()];
    schedule.near_reader.replica().is_idle.store(false, Ordering::Relaxed);
    while written.iter().any(|written| written.lock().unwrap().is_none()) {
        schedule.pass(Duration::from_millis(1));
    }
    schedule.read();
    schedule.verdict()
}

/// The same, and the answer to that verification comes late.
fn late_verification_after_lost_numbers_were_given_again(variant: Variant) -> Result<(), String> {
    let (mut schedule, kept) = with_answer_from_after_what_is_lost(variant);
    schedule.database.fail_over(kept);
    let written = [schedule.begin_write(), schedule.begin_write()];
    let replica = schedule.near_reader.replica().clone();
    replica.faults.verified_later.store(200_000_000, Ordering::Relaxed);
    schedule.start(async move { replica.replica.verify().await.is_ok() });
    for _ in 0..150 {
        schedule.pass(Duration::from_millis(1));
        if written.iter().all(|written| written.lock().unwrap().is_some()) {
            schedule.read();
        }
    }
    schedule.verdict()
}

/// The one replica that is left appends under a number that it has seen before.
fn write_by_replica_that_has_seen_what_is_lost(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::begin(variant, 0, [1_000; 2]);
    let (writer, leaving) = (Arc::clone(&schedule.writer), Arc::clone(&schedule.near_reader).leave());
    schedule.run(leaving);
    schedule.pass(REPLICA_LEASE * 2);
    let kept = schedule.database.stored();
    (0..2).for_each(|_| schedule.write(OBJECT));
    schedule.read_at(&writer);
    schedule.near_writer.replica().is_idle.store(true, Ordering::Relaxed);
    schedule.database.fail_over(kept);
    schedule.write(OBJECT);
    schedule.read_at(&writer);
    schedule.verdict()
}

#[test]
fn invalidation_after_failover_that_lost_commits_is_seen_by_every_replica() {
    let schedules: [Directed; 3] = [
        verification_after_lost_numbers_were_given_again,
        late_verification_after_lost_numbers_were_given_again,
        write_by_replica_that_has_seen_what_is_lost,
    ];
    for schedule in schedules {
        schedule(Variant::ALL).unwrap();
    }
}

#[test]
fn lost_record_taken_for_seen_schedule_fails() {
    let variant = without(|rules| rules.lost_record_begins_anew = false);
    assert_fails(verification_after_lost_numbers_were_given_again, variant);
}

#[test]
fn lost_number_counted_as_confirmed_schedule_fails() {
    let variant = log_without(|rules| rules.lost_numbers_are_not_confirmed = false);
    assert_fails(late_verification_after_lost_numbers_were_given_again, variant);
}

#[test]
fn number_seen_before_taken_for_read_schedule_fails() {
    let variant = without(|rules| rules.number_seen_before_is_looked_into = false);
    assert_fails(write_by_replica_that_has_seen_what_is_lost, variant);
}
