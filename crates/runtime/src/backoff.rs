//! Exponential backoff with an upper bound and jitter: the waits between tries.

use std::time::Duration;

/// More doublings than any bound leaves room for; it keeps the shift from overflowing.
const MOST_DOUBLINGS: u32 = 20;

/// The waits between tries at one thing: each is twice the one before, none is longer than the last, and each is shortened
/// at random, so that those who failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    jitter: f64,
    made: u32,
}

impl Backoff {
    /// Waits from `first` to `last`, each shortened by up to the share `jitter` of it, which lies between 0 and 1.
    pub const fn new(first: Duration, last: Duration, jitter: f64) -> Self {
        Self { first, last, jitter, made: 0 }
    }

    /// How long to wait before the next try.
    pub fn next_wait(&mut self) -> Duration {
        let wait = exponential(self.first, self.last, self.made);
        self.made = self.made.saturating_add(1);
        jittered(wait, self.jitter)
    }

    /// A try succeeded: the next wait is the first one again.
    pub fn reset(&mut self) {
        self.made = 0;
    }
}

/// `first`, doubled so many times, and `last` at most. Without jitter, for those who say how long they wait.
pub fn exponential(first: Duration, last: Duration, doublings: u32) -> Duration {
    first.saturating_mul(1 << doublings.min(MOST_DOUBLINGS)).min(last)
}

/// A wait, shortened at random by up to the share `jitter` of it.
pub fn jittered(wait: Duration, jitter: f64) -> Duration {
    wait.mul_f64(1.0 - jitter.clamp(0.0, 1.0) * rand::random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(50);
    const LAST: Duration = Duration::from_secs(1);

    #[test]
    fn waits_without_jitter_double_up_to_the_last() {
        let mut backoff = Backoff::new(FIRST, LAST, 0.0);
        let waits: Vec<_> = (0..7).map(|_| backoff.next_wait().as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn reset_begins_with_the_first_wait_again() {
        let mut backoff = Backoff::new(FIRST, LAST, 0.0);
        backoff.next_wait();
        backoff.next_wait();
        backoff.reset();
        assert_eq!(backoff.next_wait(), FIRST);
    }

    #[test]
    fn jitter_shortens_each_wait_by_no_more_than_its_share() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let wait = jittered(LAST, 0.2);
            assert!((LAST.mul_f64(0.8)..=LAST).contains(&wait), "{wait:?}");
            seen.insert(wait);
        }
        assert!(seen.len() > 900, "they spread: {}", seen.len());
    }

    #[test]
    fn jitter_never_exceeds_the_last_wait() {
        let mut backoff = Backoff::new(FIRST, LAST, 0.5);
        assert!((0..1000).all(|_| backoff.next_wait() <= LAST));
    }

    #[test]
    fn exponential_of_many_doublings_is_the_last_wait() {
        assert_eq!(exponential(FIRST, LAST, u32::MAX), LAST);
        assert_eq!(exponential(Duration::MAX, Duration::MAX, u32::MAX), Duration::MAX, "nothing overflows");
    }
}
