//! Retry budget: how much may be retried while an upstream keeps failing (gRFC A6, "Throttling Retry Attempts and Hedged RPCs").

use std::sync::atomic::{AtomicI64, Ordering};

/// Keeps retries a small part of the calls: each failure takes a token, each success gives a tenth of one back, and
/// nothing is retried while less than half are left. Counted in tenths, so that no rounding eats the ratio.
#[derive(Debug)]
pub struct Budget(AtomicI64);

impl Budget {
    const MOST: i64 = 1000;

    /// A failure that might be repeated.
    pub fn failed(&self) {
        self.add(-10);
    }

    /// A call that ended with OK.
    pub fn succeeded(&self) {
        self.add(1);
    }

    fn add(&self, tenths: i64) {
        let change = |left: i64| Some((left + tenths).clamp(0, Self::MOST));
        // The closure always answers, so the update can't fail.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    /// Whether one more attempt may be made.
    pub fn allows(&self) -> bool {
        self.0.load(Ordering::Relaxed) > Self::MOST / 2
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicI64::new(Self::MOST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_budget_empties_under_steady_failure_and_recovers() {
        let budget = Budget::default();
        let retried = (0..1000)
            .take_while(|_| {
                budget.failed();
                budget.allows()
            })
            .count();
        assert_eq!(retried, 49);
        (0..600).for_each(|_| budget.succeeded());
        assert!(budget.allows());
    }
}
