//! Whether the cache is asked at all.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Keeps calls from waiting, one after another, for a cache that is gone.
pub(super) struct Breaker {
    started: Instant,
    refused: AtomicBool,
    failures: AtomicU32,
    closed_from: AtomicU64,
}

impl Breaker {
    const FAILURES: u32 = 5;
    const PAUSE: Duration = Duration::from_secs(1);

    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            refused: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            closed_from: AtomicU64::new(0),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.now() < self.closed_from.load(Ordering::Relaxed)
    }

    pub(super) fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.refused.store(false, Ordering::Relaxed);
    }

    /// Notes that the cache refused. Whether it is the first time since it last answered.
    pub(super) fn refused(&self) -> bool {
        !self.refused.swap(true, Ordering::Relaxed)
    }

    /// Counts a failure, and opens where there were enough of them. Whether this was the one.
    pub(super) fn failed(&self) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= Self::FAILURES {
            let pause = u64::try_from(Self::PAUSE.as_millis()).unwrap_or(u64::MAX);
            self.closed_from.store(self.now() + pause, Ordering::Relaxed);
        }
        failures == Self::FAILURES
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_opens_after_five_failures_in_a_row() {
        let breaker = Breaker::new();
        assert!((0..4).all(|_| !breaker.failed()));
        breaker.succeeded();
        assert!((0..4).all(|_| !breaker.failed()));
        assert!(!breaker.is_open());
        assert!(breaker.failed());
        assert!(breaker.is_open());
        assert!(!breaker.failed(), "it is said once");
    }

    #[test]
    fn a_refusal_is_said_once_until_the_cache_answers_again() {
        let breaker = Breaker::new();
        assert!(breaker.refused());
        assert!(!breaker.refused());
        breaker.succeeded();
        assert!(breaker.refused());
        assert!(!breaker.is_open(), "a refusal comes at once: there is no wait to be spared");
    }
}
