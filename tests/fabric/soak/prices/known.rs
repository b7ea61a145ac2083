//! What is known of a price, and whether what a read told may be told.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::super::latency::Latency;

/// In so much calm time after its commit a change is told by every replica: a lease of the outbox's reader (2 s), as long as its
/// connection may wait for the next attempt (5 s), and a lease of the invalidation log (2 s), each twice over for a busy machine.
const BOUND: Duration = Duration::from_secs(18);
/// Violations told in full.
const MOST_TOLD: usize = 20;

/// Time in which nothing was done to any process: what is promised of an outbox holds of it.
#[derive(Debug)]
pub(in crate::soak) struct CalmTime(Mutex<Calm>);

#[derive(Debug)]
struct Calm {
    before: Duration,
    /// Since when it is calm, where it is.
    since: Option<Instant>,
}

/// Something is done to a process, until this is dropped.
#[derive(Debug)]
pub(in crate::soak) struct Troubled<'a>(&'a CalmTime);

impl CalmTime {
    fn new() -> Self {
        Self(Mutex::new(Calm { before: Duration::ZERO, since: Some(Instant::now()) }))
    }

    fn passed(&self) -> Duration {
        let calm = lock(&self.0);
        calm.before + calm.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn trouble(&self) -> Troubled<'_> {
        let mut calm = lock(&self.0);
        let lasted = calm.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        calm.before += lasted;
        drop(calm);
        Troubled(self)
    }
}

impl Drop for Troubled<'_> {
    fn drop(&mut self) {
        lock(&self.0.0).since = Some(Instant::now());
    }
}

/// One price: its number grows with each change.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) id: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The newest number that was sent to the database, whether it was committed or not.
    attempted: u64,
    /// What was committed, with the calm time then; of what is overdue the newest alone.
    committed: VecDeque<(u64, Duration)>,
}

/// What a read has to tell at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor(u64);

impl Known {
    pub(super) fn new(id: String) -> Self {
        Self { id, state: Mutex::default() }
    }

    /// The number of a change that is about to be made.
    pub(super) fn attempt(&self) -> u64 {
        let mut state = lock(&self.state);
        state.attempted += 1;
        state.attempted
    }

    fn commit(&self, number: u64, calm: Duration) {
        lock(&self.state).committed.push_back((number, calm));
    }

    fn floor(&self, calm: Duration) -> Floor {
        let mut state = lock(&self.state);
        while state.committed.get(1).is_some_and(|(_, at)| *at + BOUND < calm) {
            state.committed.pop_front();
        }
        Floor(state.committed.front().filter(|(_, at)| *at + BOUND < calm).map_or(0, |(number, _)| *number))
    }
}

/// Counts, and finds violations.
#[derive(Debug)]
pub(in crate::soak) struct PriceJudge {
    calm: CalmTime,
    changes: AtomicU64,
    failed: AtomicU64,
    reads: AtomicU64,
    unanswered: AtomicU64,
    /// How often a replica told a change that was looked for.
    seen: AtomicU64,
    /// From a commit until a replica told it.
    seen_after: Latency,
    violations: Mutex<Vec<String>>,
}

impl PriceJudge {
    pub(super) fn new() -> Self {
        let count = || AtomicU64::new(0);
        let [changes, failed, reads, unanswered, seen] = [count(), count(), count(), count(), count()];
        let (calm, seen_after) = (CalmTime::new(), Latency::new());
        Self { calm, changes, failed, reads, unanswered, seen, seen_after, violations: Mutex::default() }
    }

    /// Something is done to a process.
    pub(in crate::soak) fn trouble(&self) -> Troubled<'_> {
        self.calm.trouble()
    }

    /// Whether each replica was seen to tell changes by the outbox.
    pub(in crate::soak) fn has_tried(&self) -> bool {
        let [changes, seen] = [&self.changes, &self.seen].map(|count| count.load(Ordering::Relaxed));
        changes > 0 && seen >= changes
    }

    pub(in crate::soak) fn violations(&self) -> Vec<String> {
        lock(&self.violations).clone()
    }

    pub(super) fn committed(&self, known: &Known, number: u64) {
        known.commit(number, self.calm.passed());
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// To be asked before a read.
    pub(super) fn floor(&self, known: &Known) -> Floor {
        known.floor(self.calm.passed())
    }

    pub(super) fn unanswered(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn seen_after(&self, time: Duration) {
        self.seen.fetch_add(1, Ordering::Relaxed);
        self.seen_after.record(time);
    }

    /// What a read told, by a replica; nothing where there was no price.
    pub(super) fn read(&self, known: &Known, floor: Floor, told: Option<u64>, replica: usize) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let attempted = lock(&known.state).attempted;
        if told.is_some_and(|told| (floor.0..=attempted).contains(&told)) {
            return;
        }
        let mut violations = lock(&self.violations);
        if violations.len() < MOST_TOLD {
            let (id, floor, replica) = (&known.id, floor.0, replica + 1);
            violations.push(format!(
                "{id}: cache {replica} told {told:?}; {floor} was to be seen by then, and {attempted} is the newest"
            ));
        }
    }
}

impl fmt::Display for PriceJudge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [changes, failed, reads, unanswered] =
            [&self.changes, &self.failed, &self.reads, &self.unanswered].map(|count| count.load(Ordering::Relaxed));
        let [median, high, longest] =
            [500, 990, 1_000].map(|permille| self.seen_after.quantile(permille).as_secs_f64() * 1_000.0);
        write!(
            formatter,
            "{changes} changes by SQL told by an outbox ({failed} more failed), {reads} reads ({unanswered} more not answered); \
             a replica told a change after p50 {median:.1} ms, p99 {high:.1} ms, {longest:.1} ms at the longest"
        )
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A price of which the numbers 1 and 2 were committed at these calm times.
    fn price(one: Duration, two: Duration) -> Known {
        let known = Known::new("price-0".to_owned());
        for at in [one, two] {
            let number = known.attempt();
            known.commit(number, at);
        }
        known
    }

    #[test]
    fn change_has_to_be_told_when_its_bound_is_over_and_not_before() {
        let known = price(Duration::ZERO, Duration::from_secs(5));
        for (calm, floor) in [(BOUND, 0), (BOUND + Duration::from_secs(1), 1), (BOUND * 2, 2)] {
            assert_eq!(known.floor(calm).0, floor, "{calm:?}");
        }
    }

    #[test]
    fn price_below_the_floor_or_that_nobody_set_or_that_is_absent_is_a_violation() {
        let known = price(Duration::ZERO, Duration::ZERO);
        for (told, violations) in [(Some(2), 0), (Some(1), 1), (Some(3), 1), (None, 1)] {
            let judge = PriceJudge::new();
            judge.read(&known, known.floor(BOUND * 2), told, 0);
            assert_eq!(judge.violations().len(), violations, "{told:?}");
        }
    }

    #[test]
    fn time_of_trouble_does_not_count() {
        let calm = CalmTime::new();
        let trouble = calm.trouble();
        let before = calm.passed();
        assert_eq!(calm.passed(), before);
        drop(trouble);
        let end = Instant::now() + Duration::from_secs(10);
        while calm.passed() == before {
            assert!(Instant::now() < end, "it stands still");
        }
    }
}
