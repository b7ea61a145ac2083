//! A near cache with a clock that the test moves.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

#[derive(Clone, Debug, Default)]
struct Clock(Arc<AtomicU64>);

impl World for Clock {
    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed))
    }

    fn random(&self) -> f64 {
        0.0
    }

    fn spawn(&self, _: impl Future<Output = ()> + Send + 'static) {}
}

impl Clock {
    fn advance(&self, milliseconds: u64) {
        self.0.fetch_add(milliseconds * 1_000_000, Ordering::Relaxed);
    }
}

const LATENCY: ConsistencyRequirement = ConsistencyRequirement::MinimizeLatency;
const LIMITS: NearLimits = NearLimits { bytes: 1 << 20, max_entry_bytes: 16 << 10, tags: 100, max_lease: MAX_LEASE };

const MAX_LEASE: Duration = Duration::from_millis(200);

fn subject() -> (Near<String, &'static str, Clock>, Clock) {
    let clock = Clock::default();
    clock.advance(1_000_000);
    (Near::new(clock.clone(), LIMITS, &opentelemetry::global::meter("test")), clock)
}

fn milk() -> Tag {
    Tag::named("product/milk")
}

fn lease() -> Lease {
    let [duration, age, left] = [200, 30, 5_000].map(Duration::from_millis);
    Lease { duration, age, left, tags: [milk()].into() }
}

fn fill(near: &Near<String, &'static str, Clock>, asked: Asked, lease: Lease) -> Result<(), Refusal> {
    near.fill(asked, "milk".to_owned(), Arc::new("1.5%"), 100, lease)
}

#[test]
fn kept_answer_is_served_until_its_share_of_the_lease_is_over_from_asking() {
    let (near, clock) = subject();
    let asked = near.begin();
    clock.advance(50);
    fill(&near, asked, lease()).unwrap();
    clock.advance(145);
    renew(&near);
    assert_eq!(*near.get("milk", LATENCY).unwrap().value, "1.5%");
    clock.advance(1);
    assert!(near.get("milk", LATENCY).is_none(), "196 ms after asking");
}

/// The one reader who goes to the cache before the lease ends.
fn renew(near: &Near<String, &'static str, Clock>) {
    assert!(near.get("milk", LATENCY).is_none(), "nobody renews the lease");
}

#[test]
fn one_reader_renews_a_lease_before_its_end_while_others_are_answered() {
    let (near, clock) = subject();
    fill(&near, near.begin(), lease()).unwrap();
    clock.advance(146);
    assert!(near.get("milk", LATENCY).is_some(), "three quarters of 196 ms are not over");
    clock.advance(1);
    renew(&near);
    let asked = near.begin();
    assert!(near.get("milk", LATENCY).is_some());
    fill(&near, asked, lease()).unwrap();
    clock.advance(146);
    assert!(near.get("milk", LATENCY).is_some(), "the new lease has no more than the one before had");
}

#[test]
fn reader_whom_the_copy_does_not_answer_renews_no_lease() {
    let (near, clock) = subject();
    fill(&near, near.begin(), lease()).unwrap();
    clock.advance(147);
    assert!(near.get("milk", ConsistencyRequirement::Strong).is_none());
    renew(&near);
}

#[test]
fn answer_whose_life_ends_before_its_lease_is_not_renewed() {
    let (near, clock) = subject();
    let short = Lease { left: Duration::from_millis(196), ..lease() };
    fill(&near, near.begin(), short).unwrap();
    clock.advance(195);
    assert!(near.get("milk", LATENCY).is_some());
}

#[test]
fn age_and_life_count_from_asking() {
    let (near, clock) = subject();
    let asked = near.begin();
    clock.advance(50);
    fill(&near, asked, lease()).unwrap();
    let hit = near.get("milk", LATENCY).unwrap();
    assert_eq!((hit.age, hit.left), (Duration::from_millis(80), Duration::from_millis(4_950)));
}

#[test]
fn answer_is_not_served_past_its_life() {
    let (near, clock) = subject();
    let short = Lease { left: Duration::from_millis(20), ..lease() };
    fill(&near, near.begin(), short).unwrap();
    clock.advance(20);
    assert!(near.get("milk", LATENCY).is_none());
}

#[test]
fn consistency_requirement_that_copy_does_not_meet_is_a_miss() {
    let (near, _) = subject();
    fill(&near, near.begin(), lease()).unwrap();
    let within = |bound| ConsistencyRequirement::MaxStaleness(Duration::from_millis(bound));
    assert!(near.get("milk", within(30)).is_some());
    assert!(near.get("milk", within(29)).is_none());
    assert!(near.get("milk", ConsistencyRequirement::Strong).is_none());
}

#[test]
fn acknowledged_invalidation_drops_copy_and_refuses_what_was_asked_before() {
    let (near, _) = subject();
    fill(&near, near.begin(), lease()).unwrap();
    let asked = near.begin();
    near.acknowledged([milk()]);
    assert!(near.get("milk", LATENCY).is_none());
    assert_eq!(fill(&near, asked, lease()), Err(Refusal::Invalidated));
    fill(&near, near.begin(), lease()).unwrap();
    assert!(near.get("milk", LATENCY).is_some());
}

#[test]
fn acknowledged_invalidation_of_other_tag_drops_nothing() {
    let (near, _) = subject();
    fill(&near, near.begin(), lease()).unwrap();
    near.acknowledged([Tag::named("product/bread")]);
    assert!(near.get("milk", LATENCY).is_some());
}

#[test]
fn successor_of_cache_ends_copies_of_predecessor() {
    let (near, clock) = subject();
    near.observe(near.begin(), 1);
    fill(&near, near.begin(), lease()).unwrap();
    clock.advance(1);
    assert_eq!(near.observe(near.begin(), 2), Sighting::New);
    assert!(near.get("milk", LATENCY).is_none());
}

#[test]
fn nothing_is_kept_while_two_processes_answer() {
    let (near, clock) = subject();
    for incarnation in [1, 2] {
        near.observe(near.begin(), incarnation);
        clock.advance(1);
    }
    assert_eq!(near.observe(near.begin(), 1), Sighting::Two);
    assert!(near.is_suspended());
    assert_eq!(fill(&near, near.begin(), lease()), Err(Refusal::Suspended));
    near.is_wanted("milk", MAX_LEASE);
    assert!(!near.is_wanted("milk", MAX_LEASE));
}

#[test]
fn late_or_large_answer_is_not_kept() {
    let (near, clock) = subject();
    let asked = near.begin();
    clock.advance(196);
    assert_eq!(fill(&near, asked, lease()), Err(Refusal::Expired));
    let asked = near.begin();
    let large = near.fill(asked, "milk".to_owned(), Arc::new("1.5%"), LIMITS.max_entry_bytes + 1, lease());
    assert_eq!(large, Err(Refusal::TooLarge));
}

#[test]
fn lease_longer_than_maximum_counts_as_maximum() {
    let (near, clock) = subject();
    fill(&near, near.begin(), Lease { duration: Duration::from_mins(1), ..lease() }).unwrap();
    clock.advance(196);
    assert!(near.get("milk", LATENCY).is_none());
}

#[test]
fn second_miss_of_key_is_worth_a_lease() {
    let (near, clock) = subject();
    assert!(!near.is_wanted("milk", MAX_LEASE));
    clock.advance(300);
    assert!(near.is_wanted("milk", MAX_LEASE));
    clock.advance(500);
    assert!(!near.is_wanted("milk", MAX_LEASE));
}

#[test]
fn second_miss_after_two_shorter_leases_is_worth_none() {
    let (near, clock) = subject();
    near.is_wanted("milk", MAX_LEASE / 4);
    clock.advance(101);
    assert!(!near.is_wanted("milk", MAX_LEASE / 4));
}

#[test]
fn bytes_stay_under_limit() {
    let (near, _) = subject();
    for n in 0..1_000 {
        near.fill(near.begin(), n.to_string(), Arc::new("1.5%"), 10 << 10, lease()).unwrap();
    }
    assert!(near.entries.weighted_size() <= LIMITS.bytes, "{}", near.entries.weighted_size());
    assert!(near.entries.entry_count() > 50, "{}", near.entries.entry_count());
}
