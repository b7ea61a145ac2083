//! The time that a method's answers take without a queue.

use tokio::time::Instant;

/// How long it is remembered, in seconds: what takes longer than that to grow is not taken for a queue.
const MEMORY: f64 = 600.0;

/// What a time weighs at least where answers have become faster: the queue that they were learned in is over.
const FASTER: f64 = 0.05;

/// The mean of the logarithms of a method's times, in octaves (powers of two) of a second. Unlike the least of them it says the
/// same of the same method however widely its times spread; unlike their mean, one that is a thousand times as long hardly moves it.
#[derive(Debug)]
pub(super) struct Baseline {
    octaves: f64,
    samples: f64,
    at: Instant,
}

impl Baseline {
    /// Nothing but the first time.
    pub(super) fn new(octaves: f64, now: Instant) -> Self {
        Self { octaves, samples: 1.0, at: now }
    }

    /// What an answer takes as a rule.
    pub(super) fn octaves(&self) -> f64 {
        self.octaves
    }

    /// Takes in one more time. The first ones weigh alike, later ones by the time since the last.
    pub(super) fn learn(&mut self, octaves: f64, is_faster: bool, now: Instant) {
        self.samples += 1.0;
        let passed = now.saturating_duration_since(self.at).as_secs_f64() / MEMORY;
        let least = if is_faster { FASTER } else { 0.0 };
        let weight = passed.max(1.0 / self.samples).max(least).min(1.0);
        self.octaves += weight * (octaves - self.octaves);
        self.at = now;
    }
}
