//! Slows down guessing: each failure doubles the wait before the next try at the same account.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Failures that cost nothing: people mistype.
const FREE: u32 = 5;

/// The longest wait.
const LONGEST: Duration = Duration::from_mins(15);

/// Accounts remembered; guessing at more names than that makes the least tried forgotten.
const ACCOUNTS: u64 = 100_000;

/// Failures by account, in memory.
pub struct Throttle(moka::sync::Cache<String, Arc<Mutex<Account>>>);

struct Account {
    failures: u32,
    until: Instant,
}

impl Default for Throttle {
    fn default() -> Self {
        Self(moka::sync::Cache::builder().max_capacity(ACCOUNTS).time_to_idle(2 * LONGEST).build())
    }
}

impl Throttle {
    /// Counts a try as failed before it is made, so that tries at the same time count too. Err: how long to wait.
    pub fn attempt(&self, account: &str) -> Result<(), Duration> {
        let now = Instant::now();
        let entry = self.0.get_with_by_ref(account, || Arc::new(Mutex::new(Account { failures: 0, until: now })));
        let mut entry = entry.lock().unwrap_or_else(PoisonError::into_inner);
        if now < entry.until {
            return Err(entry.until - now);
        }
        entry.failures = entry.failures.saturating_add(1);
        if let Some(doublings) = entry.failures.checked_sub(FREE) {
            entry.until = now + Duration::from_secs(1).saturating_mul(1 << doublings.min(20)).min(LONGEST);
        }
        Ok(())
    }

    /// The try was not made after all: there was no store to read, or no time to hash.
    pub fn unmade(&self, account: &str) {
        if let Some(entry) = self.0.get(account) {
            let mut entry = entry.lock().unwrap_or_else(PoisonError::into_inner);
            entry.failures = entry.failures.saturating_sub(1);
            if entry.failures < FREE {
                entry.until = Instant::now();
            }
        }
    }

    /// The try was good after all.
    pub fn succeeded(&self, account: &str) {
        self.0.invalidate(account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_failure_after_the_fifth_doubles_the_wait() {
        let throttle = Throttle::default();
        for _ in 0..FREE {
            throttle.attempt("ada").unwrap();
        }
        assert_eq!(throttle.attempt("ada"), Err(Duration::from_secs(1)));
        throttle.attempt("bob").unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        throttle.attempt("ada").unwrap();
        assert_eq!(throttle.attempt("ada"), Err(Duration::from_secs(2)));
        throttle.succeeded("ada");
        throttle.attempt("ada").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_tried_is_not_counted_and_what_was_is() {
        let throttle = Throttle::default();
        for _ in 0..3 * FREE {
            throttle.attempt("ada").unwrap();
            throttle.unmade("ada");
        }
        for _ in 0..FREE {
            throttle.attempt("ada").unwrap();
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        throttle.attempt("ada").unwrap();
        throttle.unmade("ada");
        assert_eq!(throttle.attempt("ada"), Err(Duration::from_secs(2)), "five failures stay five");
    }
}
