//! The database is replaced by an empty one, which knows nothing of its replicas yet.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::schedule::{OBJECT, Schedule};
use super::{OTHER, assert_fails, without};
use crate::simulation::mesh::Variant;

/// The second replica knows nothing of it yet.
fn write_on_another_log(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::with_answer(variant, [1_000; 2]);
    schedule.database.replace();
    let replica = schedule.near_writer.replica().replica.clone();
    schedule.run(async move { replica.verify().await }).unwrap();
    schedule.write(OBJECT);
    schedule.read();
    schedule.verdict()
}

/// A write waits for the second replica. What the first one appends next is in the empty database, and the verification after it is
/// late.
fn append_to_another_log_during_write(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::with_answer(variant, [1_000; 2]);
    let first = schedule.near_writer.replica().clone();
    first.is_idle.store(true, Ordering::Relaxed);
    let written = schedule.begin_write();
    schedule.pass(Duration::from_millis(1));
    schedule.database.replace();
    first.faults.verified_later.store(200_000_000, Ordering::Relaxed);
    let other = Arc::clone(&schedule.writer).write_logged(OTHER, false, None);
    schedule.start(other);
    for _ in 0..150 {
        schedule.pass(Duration::from_millis(1));
        if written.lock().unwrap().is_some() {
            schedule.read();
        }
    }
    schedule.verdict()
}

#[test]
fn write_is_seen_although_the_log_is_replaced() {
    write_on_another_log(Variant::ALL).unwrap();
    append_to_another_log_during_write(Variant::ALL).unwrap();
}

#[test]
fn acknowledgement_at_once_on_another_log_schedule_fails() {
    assert_fails(write_on_another_log, without(|rules| rules.first_time_on_another_log = false));
}

#[test]
fn members_of_another_log_waited_for_alone_schedule_fails() {
    assert_fails(append_to_another_log_during_write, without(|rules| rules.append_tells_of_its_number_alone = false));
}
