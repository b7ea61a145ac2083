//! The engine under a seed: one thread, chosen interleavings, virtual time, an origin that is slow and fails, callers that
//! leave, and invalidations that get lost. Every answer is held against what the origin had committed. Leases have a model of
//! their own, of gateways and caches that are paused, restarted and rolled over (`leases`), and directed schedules for what
//! seeds meet too seldom (`schedules`).
//!
//! `ACCORD_SIMULATION_SEEDS` says how many seeds run (500 unless told), `ACCORD_SIMULATION_FROM` which is the first,
//! `ACCORD_SIMULATION_THREADS` on how many threads. A failure names its seed, and the few of its operations that it needs.

mod context;
mod gateway;
mod key_model;
mod keys;
mod leases;
mod log;
mod mesh;
mod oracle;
mod origin;
mod process;
mod readers;
mod replica_keys;
mod replica_mesh;
mod replica_process;
mod replica_schedules;
mod replicas;
mod requests;
mod run;
mod schedules;
mod second_level;
mod second_level_schedules;
pub(crate) mod scheduler;
mod script;
mod seeds;
mod sender;
mod sessions;
mod shrink;
mod store;
mod through;
mod through_model;
mod versions;
mod watchers;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::engine::Rules;
use context::Faults;
use run::simulate;
use script::Script;
use seeds::every_seed;
use shrink::shrink;

#[test]
fn every_seed_keeps_the_invariants() {
    every_seed("engine", |script| simulate(script, Rules::ALL, Faults::default()).map(drop));
}

#[test]
fn failing_seed_is_shortened_to_a_few_operations() {
    let rules = Rules { fill_guard: false, ..Rules::ALL };
    let broken_by = |script: &Script| simulate(script, rules, Faults::default()).map(drop);
    let failing = (0..50).filter_map(|seed| Some((seed, broken_by(&Script::whole(seed)).err()?)));
    // What a failure needs is the seed's affair.
    let shrunk = failing.take(5).map(|(seed, broken)| shrink(&Script::whole(seed), broken, broken_by));
    let shrunk = shrunk.min_by_key(|shrunk| shrunk.least.operations.len()).expect("a rule is missing");
    assert!(shrunk.least.operations.len() <= 20, "{shrunk}");
}

/// An origin that gives versions: its replica lags, and the cache does not go back with it. Versions count for longer than what a load
/// brings can be behind.
#[test]
fn every_seed_with_a_lagging_origin_keeps_the_invariants() {
    let rules = Rules { version_life: LAGGING.lag + LONGEST_LOAD, ..Rules::ALL };
    every_seed("versions", |script| simulate(script, rules, LAGGING).map(drop));
}

#[test]
fn same_seed_replays_same_run() {
    let once = simulate(&Script::whole(7), Rules::ALL, Faults::default()).expect("the invariants hold");
    let again = simulate(&Script::whole(7), Rules::ALL, Faults::default()).expect("the invariants hold");
    assert_eq!(once, again);
    let shows_much = once.hits > 100
        && once.loads > 100
        && once.stale > 0
        && once.exchanged > 5
        && once.key_loads > 50
        && once.written > 20;
    assert!(shows_much, "a run that shows little: {once:?}");
}

/// As long as a reader waits at most.
const LONGEST_LOAD: Duration = Duration::from_secs(10);

const LAGGING: Faults =
    Faults { lag: Duration::from_secs(3), ignore_gaps: false, settle_newcomers: false, hasty_goodbyes: false };

/// An answer that was invalidated and lives on is read again, or found at the end: which of them is the seed's affair.
const LIVES_ON: [&str; 3] = ["I6", "I7", "I10"];

/// A check that cannot fail proves nothing: so each rule is taken out once, and the simulation must fail.
#[test]
fn without_fill_guard_simulation_fails() {
    assert_fails_without(Rules { fill_guard: false, ..Rules::ALL }, Faults::default(), &["I6", "I7", "I10", "I14"]);
}

#[test]
fn without_shared_flights_simulation_fails() {
    assert_fails_without(Rules { shared_flights: false, ..Rules::ALL }, Faults::default(), &["I8"]);
}

#[test]
fn without_load_start_epochs_simulation_fails() {
    assert_fails_without(Rules { start_epochs: false, ..Rules::ALL }, Faults::default(), &LIVES_ON);
}

#[test]
fn without_tag_floor_simulation_fails() {
    // A value of a namespace that lives on may be found by a compare-and-set as well.
    assert_fails_without(Rules { tag_floor: false, ..Rules::ALL }, Faults::default(), &["I6", "I7", "I10", "I14"]);
}

#[test]
fn without_reload_after_starter_deadline_simulation_fails() {
    assert_fails_without(Rules { reload_after_starter_deadline: false, ..Rules::ALL }, Faults::default(), &["I12"]);
}

#[test]
fn without_gap_detection_simulation_fails() {
    assert_fails_without(Rules::ALL, Faults { ignore_gaps: true, ..Faults::default() }, &LIVES_ON);
}

#[test]
fn without_account_of_the_dead_before_a_newcomer_is_settled_simulation_fails() {
    assert_fails_without(Rules::ALL, Faults { settle_newcomers: true, ..Faults::default() }, &LIVES_ON);
}

#[test]
fn with_goodbyes_before_everything_is_delivered_simulation_fails() {
    assert_fails_without(Rules::ALL, Faults { hasty_goodbyes: true, ..Faults::default() }, &LIVES_ON);
}

#[test]
fn without_stale_use_forbidden_by_deletion_simulation_fails() {
    assert_fails_without(Rules { delete_forbids_stale: false, ..Rules::ALL }, Faults::default(), &["I10"]);
}

#[test]
fn without_comparison_of_versions_simulation_fails() {
    assert_fails_without(Rules { versions_win: false, ..Rules::ALL }, LAGGING, &["I13"]);
}

#[test]
fn versions_that_count_for_a_shorter_time_than_the_origin_lags_simulation_fails() {
    assert_fails_without(Rules { version_life: LAGGING.lag / 2, ..Rules::ALL }, LAGGING, &["I13"]);
}

#[test]
fn without_tombstone_floor_simulation_fails() {
    assert_fails_without(Rules { tombstone_floor: false, ..Rules::ALL }, LAGGING, &["I13"]);
}

#[test]
fn without_comparison_simulation_fails() {
    assert_fails_without(Rules { compare: false, ..Rules::ALL }, Faults::default(), &["I14"]);
}

#[test]
fn without_absence_of_dead_values_in_comparison_simulation_fails() {
    assert_fails_without(Rules { absent_when_dead: false, ..Rules::ALL }, Faults::default(), &["I14"]);
}

#[test]
fn without_unique_versions_simulation_fails() {
    assert_fails_without(Rules { unique_versions: false, ..Rules::ALL }, Faults::default(), &["I14"]);
}

#[test]
fn without_release_by_version_simulation_fails() {
    assert_fails_without(Rules { release_by_version: false, ..Rules::ALL }, Faults::default(), &["I6", "I14"]);
}

#[test]
fn without_namespace_quota_simulation_fails() {
    assert_fails_without(Rules { quota: false, ..Rules::ALL }, Faults::default(), &["I11"]);
}

#[test]
fn without_retirement_of_loads_by_put_simulation_fails() {
    assert_fails_without(Rules { put_retires_loads: false, ..Rules::ALL }, Faults::default(), &["I6", "I7", "I14"]);
}

#[test]
fn without_retirement_of_loads_by_delete_simulation_fails() {
    assert_fails_without(Rules { delete_retires_loads: false, ..Rules::ALL }, Faults::default(), &["I6", "I7", "I14"]);
}

#[test]
fn without_retirement_of_loads_by_invalidation_simulation_fails() {
    assert_fails_without(Rules { invalidation_retires_loads: false, ..Rules::ALL }, Faults::default(), &["I6", "I14"]);
}

#[test]
fn without_turns_of_writers_simulation_fails() {
    assert_fails_without(Rules { write_turns: false, ..Rules::ALL }, Faults::default(), &LIVES_ON);
}

#[test]
fn without_forgetting_after_failed_writes_simulation_fails() {
    assert_fails_without(Rules { failed_writes_forget: false, ..Rules::ALL }, Faults::default(), &LIVES_ON);
}

#[test]
fn without_flights_new_enough_for_their_readers_simulation_fails() {
    assert_fails_without(
        Rules { new_enough_flights: false, ..Rules::ALL },
        Faults::default(),
        &["I2, I10", "I3", "I4", "I5"],
    );
}

#[test]
fn without_heed_of_tokens_simulation_fails() {
    assert_fails_without(Rules { tokens_heeded: false, ..Rules::ALL }, Faults::default(), &["I3", "I5"]);
}

#[test]
fn without_heed_of_tokens_by_those_who_join_loads_simulation_fails() {
    assert_fails_without(Rules { tokens_heeded_by_waiters: false, ..Rules::ALL }, Faults::default(), &["I3", "I5"]);
}

#[test]
fn without_spans_of_the_start_of_loads_simulation_fails() {
    assert_fails_without(Rules { spans_of_start: false, ..Rules::ALL }, Faults::default(), &["I3", "I5"]);
}

#[test]
fn without_heed_of_what_readers_of_keys_require_simulation_fails() {
    assert_fails_without(Rules { required_age_of_keys: false, ..Rules::ALL }, Faults::default(), &["I6"]);
}

#[test]
fn without_one_flight_after_another_simulation_fails() {
    assert_fails_without(Rules { one_flight_after_another: false, ..Rules::ALL }, Faults::default(), &["I8"]);
}

/// Without a rule, these are the invariants that break first.
fn assert_fails_without(rules: Rules, faults: Faults, invariants: &[&str]) {
    let runs = (0..50).filter_map(|seed| simulate(&Script::whole(seed), rules, faults).err());
    let broken: BTreeSet<_> = runs.map(|broken| broken.invariant().to_owned()).collect();
    assert!(!broken.is_empty(), "50 seeds ran without {rules:?} {faults:?} and nothing was noticed");
    assert!(broken.iter().all(|broken| invariants.contains(&&**broken)), "{broken:?} without {rules:?} {faults:?}");
}
