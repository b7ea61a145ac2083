//! What is known of each product, and whether what a read gave may be given.
//!
//! A product's version is its origin's own count of its writes. So a write of unknown outcome that commits after others needs no
//! rule of its own: it has a higher version than all that were acknowledged before it.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::latency::Latency;

/// After it a deferred write is seen, whatever happened to who called it that, and so is one that went past Accord: the longest `ttl` of the sample's products, with
/// its jitter, and the time in which they are given stale while they are loaded anew.
const DEFERRED_BOUND: Duration = Duration::from_secs(64);
/// Of so many acknowledged writes one at least met a lease of the other gateway: with fewer, nothing was tried.
const ONE_AGAINST_LEASE: u64 = 20;
/// Violations told in full.
const MOST_TOLD: usize = 20;

/// A write that its gateway answered.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// Counts the writes of its product, as its title does.
    pub number: u64,
    /// The version that it made.
    pub version: u64,
    /// By which gateway.
    pub gateway: usize,
    /// When it was sent, and when its answer had come.
    pub sent: Instant,
    pub answered: Instant,
    pub request_id: String,
}

/// What a read gave.
#[derive(Debug)]
pub(crate) struct Seen {
    pub number: u64,
    pub version: u64,
    pub gateway: usize,
    pub sent: Instant,
    pub answered: Instant,
    /// Where it came from, by its headers.
    pub source: String,
    pub request_id: String,
}

/// What a read has to give, at the moment it starts.
#[derive(Debug)]
pub(crate) struct Expected {
    acknowledged: Write,
    deferred: Vec<Write>,
}

/// One product.
#[derive(Debug)]
pub(crate) struct Product {
    pub id: String,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    acknowledged: Write,
    /// Those after it that are not acknowledged: deferred, or past Accord.
    deferred: VecDeque<Write>,
}

/// Counts, and finds violations.
#[derive(Debug)]
pub(crate) struct Judge {
    begun: Instant,
    pub(crate) reads: [Reads; 2],
    pub(crate) writes: Writes,
    violations: Mutex<Vec<String>>,
    count: AtomicU64,
    /// The longest time after which a deferred write was not seen, in milliseconds.
    longest_deferred: AtomicU64,
    failures: Mutex<HashMap<String, u64>>,
    pub(crate) latency: Latency,
}

/// Reads at one gateway.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pub answered: AtomicU64,
    pub failed: AtomicU64,
    pub near: AtomicU64,
    /// The same of those that began and ended while nothing was done to the gateway itself.
    pub calm: [AtomicU64; 2],
    /// Odd while something is done to it.
    disturbances: AtomicU64,
}

/// Something is done to a gateway, until this is dropped.
#[derive(Debug)]
pub(crate) struct Disturbed<'a>(&'a AtomicU64);

impl Drop for Disturbed<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Reads {
    /// To be asked before and after a read.
    pub(crate) fn disturbances(&self) -> u64 {
        self.disturbances.load(Ordering::Relaxed)
    }

    /// Counts a read, by whether it was answered, that began at this count of disturbances.
    pub(crate) fn count(&self, is_answered: bool, began_at: u64) {
        let whole = if is_answered { &self.answered } else { &self.failed };
        whole.fetch_add(1, Ordering::Relaxed);
        if began_at.is_multiple_of(2) && began_at == self.disturbances() {
            self.calm[usize::from(is_answered)].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes, by what became of them.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    pub acknowledged: AtomicU64,
    /// Of those: written while the other gateway answered from its memory.
    pub against_lease: AtomicU64,
    pub deferred: AtomicU64,
    /// Past Accord, by SQL.
    pub by_sql: AtomicU64,
    pub failed: AtomicU64,
}

impl Product {
    pub(crate) fn new(id: String, created: Write) -> Self {
        Self { id, known: Mutex::new(Known { acknowledged: created, deferred: VecDeque::new() }) }
    }

    pub(crate) fn acknowledged(&self, write: Write) {
        let mut known = lock(&self.known);
        known.deferred.retain(|deferred| deferred.version > write.version);
        known.acknowledged = write;
    }

    /// A write that is seen within what its contract declares. Of those that are overdue, the last one tells all.
    pub(crate) fn deferred(&self, write: Write) {
        let mut known = lock(&self.known);
        while known.deferred.get(1).is_some_and(|next| next.answered + DEFERRED_BOUND < write.answered) {
            known.deferred.pop_front();
        }
        known.deferred.push_back(write);
    }

    /// To be asked before the read is sent.
    pub(crate) fn expected(&self) -> Expected {
        let known = lock(&self.known);
        Expected { acknowledged: known.acknowledged.clone(), deferred: known.deferred.iter().cloned().collect() }
    }
}

impl Judge {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            reads: Default::default(),
            writes: Writes::default(),
            violations: Mutex::default(),
            count: AtomicU64::new(0),
            longest_deferred: AtomicU64::new(0),
            failures: Mutex::default(),
            latency: Latency::new(),
        }
    }

    /// Something is done to a gateway: that reads fail there says nothing of the mesh.
    pub(crate) fn disturbed(&self, gateway: usize) -> Disturbed<'_> {
        let disturbances = &self.reads[gateway].disturbances;
        disturbances.fetch_add(1, Ordering::Relaxed);
        Disturbed(disturbances)
    }

    /// Of a thousand reads at gateways to which nothing was done, so many were answered, rounded down.
    pub(crate) fn availability(&self) -> u64 {
        let [failed, answered] = [0, 1].map(|is_answered| {
            self.reads.iter().map(|reads| reads.calm[is_answered].load(Ordering::Relaxed)).sum::<u64>()
        });
        answered * 1_000 / (answered + failed).max(1)
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.writes.acknowledged.load(Ordering::Relaxed)
    }

    /// Whether so many writes were acknowledged, and enough of them while the other gateway answered from its memory.
    pub(crate) fn has_tried(&self, writes: u64) -> bool {
        let acknowledged = self.acknowledged();
        acknowledged >= writes && self.writes.against_lease.load(Ordering::Relaxed) * ONE_AGAINST_LEASE >= acknowledged
    }

    pub(crate) fn has_violations(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Counts something that was not answered, by its cause.
    pub(crate) fn failed(&self, cause: String) {
        *lock(&self.failures).entry(cause).or_default() += 1;
    }

    /// What a read gave, against what it had to give when it started.
    pub(crate) fn read(&self, product: &Product, expected: &Expected, seen: &Seen) {
        let floor = &expected.acknowledged;
        if seen.version < floor.version {
            self.violated(product, "a write that was acknowledged is not seen", floor, seen);
        } else if seen.version == floor.version && seen.number != floor.number {
            self.violated(product, "a version has two values", floor, seen);
        }
        // The first that it did not see is the one that it should have seen longest.
        if let Some(deferred) = expected.deferred.iter().find(|deferred| seen.version < deferred.version) {
            let after = seen.sent.saturating_duration_since(deferred.answered);
            self.longest_deferred.fetch_max(u64::try_from(after.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
            if after > DEFERRED_BOUND {
                self.violated(product, "a deferred write is not seen within its bound", deferred, seen);
            }
        }
    }

    fn violated(&self, product: &Product, what: &str, write: &Write, seen: &Seen) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut violations = lock(&self.violations);
        if violations.len() < MOST_TOLD {
            let at = |moment: Instant| moment.saturating_duration_since(self.begun).as_secs_f64();
            violations.push(format!(
                "{}: {what}\n  write {} (version {}) at gateway {}: sent at {:.4} s, answered at {:.4} s, request {}\n  \
                 read of write {} (version {}) at gateway {}: sent at {:.4} s, answered at {:.4} s, {}, request {}",
                product.id,
                write.number,
                write.version,
                write.gateway + 1,
                at(write.sent),
                at(write.answered),
                write.request_id,
                seen.number,
                seen.version,
                seen.gateway + 1,
                at(seen.sent),
                at(seen.answered),
                seen.source,
                seen.request_id,
            ));
        }
    }

    /// How many there were, and the first of them in full.
    pub(crate) fn violations(&self) -> (u64, Vec<String>) {
        (self.count.load(Ordering::Relaxed), lock(&self.violations).clone())
    }

    pub(crate) fn longest_deferred(&self) -> Duration {
        Duration::from_millis(self.longest_deferred.load(Ordering::Relaxed))
    }

    /// What was not answered, the most frequent cause first.
    pub(crate) fn failures(&self) -> Vec<(String, u64)> {
        let mut failures: Vec<_> = lock(&self.failures).clone().into_iter().collect();
        failures.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        failures
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Display for Writes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [acknowledged, against_lease, deferred, by_sql, failed] =
            [&self.acknowledged, &self.against_lease, &self.deferred, &self.by_sql, &self.failed]
                .map(|count| count.load(Ordering::Relaxed));
        write!(
            formatter,
            "{acknowledged} acknowledged ({against_lease} of them against a lease of the other gateway), {deferred} deferred, \
             {by_sql} by SQL, {failed} failed"
        )
    }
}

impl fmt::Display for Reads {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [answered, failed, near] =
            [&self.answered, &self.failed, &self.near].map(|count| count.load(Ordering::Relaxed));
        // To a tenth of a percent.
        let permille = answered * 1_000 / (answered + failed).max(1);
        let (percent, tenth) = (permille / 10, permille % 10);
        write!(formatter, "{answered} answered ({percent}.{tenth} %), {near} of them near; {failed} not answered")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(number: u64, version: u64, answered: Instant) -> Write {
        Write { number, version, gateway: 0, sent: answered, answered, request_id: "w".to_owned() }
    }

    fn seen(number: u64, version: u64, sent: Instant) -> Seen {
        let (source, request_id) = ("accord-near; hit".to_owned(), "r".to_owned());
        Seen { number, version, gateway: 1, sent, answered: sent, source, request_id }
    }

    fn product(now: Instant) -> Product {
        Product::new("soak-1".to_owned(), write(0, 1, now))
    }

    /// How many violations a judge finds in this read.
    fn found(product: &Product, seen: &Seen) -> u64 {
        let judge = Judge::new();
        judge.read(product, &product.expected(), seen);
        judge.violations().0
    }

    #[test]
    fn read_below_an_acknowledged_write_is_a_violation() {
        let now = Instant::now();
        let product = product(now);
        product.acknowledged(write(1, 2, now));
        assert_eq!(found(&product, &seen(0, 1, now)), 1);
        assert_eq!(found(&product, &seen(1, 2, now)), 0);
        assert_eq!(found(&product, &seen(2, 3, now)), 0, "one whose outcome is unknown may have committed");
    }

    #[test]
    fn read_that_started_before_the_acknowledgement_may_be_below() {
        let now = Instant::now();
        let (product, judge) = (product(now), Judge::new());
        let expected = product.expected();
        product.acknowledged(write(1, 2, now));
        judge.read(&product, &expected, &seen(0, 1, now));
        assert_eq!(judge.violations().0, 0);
    }

    #[test]
    fn another_value_under_the_acknowledged_version_is_a_violation() {
        let now = Instant::now();
        let product = product(now);
        assert_eq!(found(&product, &seen(7, 1, now)), 1);
    }

    #[test]
    fn deferred_write_has_to_be_seen_within_its_bound_alone() {
        let now = Instant::now();
        let product = product(now);
        product.deferred(write(1, 2, now));
        assert_eq!(found(&product, &seen(0, 1, now + DEFERRED_BOUND)), 0);
        assert_eq!(found(&product, &seen(0, 1, now + DEFERRED_BOUND * 2)), 1);
    }

    #[test]
    fn deferred_write_has_to_be_seen_although_others_come_after_it() {
        let now = Instant::now();
        let product = product(now);
        for number in 1..200 {
            product.deferred(write(number, number + 1, now + Duration::from_secs(number)));
        }
        let at = now + Duration::from_secs(200);
        assert_eq!(found(&product, &seen(100, 101, at)), 1);
        assert_eq!(found(&product, &seen(150, 151, at)), 0);
    }

    #[test]
    fn reads_at_a_gateway_to_which_something_is_done_count_for_no_availability() {
        let judge = Judge::new();
        let read = |is_answered, gateway: usize| {
            let reads = &judge.reads[gateway];
            reads.count(is_answered, reads.disturbances());
        };
        (0..9).for_each(|_| read(true, 0));
        let disturbed = judge.disturbed(1);
        read(false, 1);
        drop(disturbed);
        assert_eq!(judge.availability(), 1_000);
        read(false, 1);
        assert_eq!(judge.availability(), 900);
    }
}
