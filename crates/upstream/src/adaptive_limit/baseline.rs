//! The time that a method's answers take without a queue.

use std::time::Duration;

use tokio::time::Instant;

use super::octaves;

/// How long it is remembered, in seconds: what takes longer than that to grow is not taken for a queue.
const MEMORY: f64 = 600.0;

/// What a time weighs at least where answers have become faster: the queue that they were learned in is over.
const FASTER: f64 = 0.05;

/// Two means of a method's times. That of the logarithms, in octaves (powers of two) of a second, says whether answers have become
/// slower: unlike the least time it says the same of the same method however widely its times spread, and one that is a thousand
/// times as long hardly moves it. The plain one says how many calls an upstream works on, by Little's law.
#[derive(Debug)]
pub(super) struct Baseline {
    octaves: f64,
    seconds: f64,
    samples: f64,
    at: Instant,
}

impl Baseline {
    /// Nothing but the first time.
    pub(super) fn new(latency: Duration, now: Instant) -> Self {
        Self { octaves: octaves(latency), seconds: latency.as_secs_f64(), samples: 1.0, at: now }
    }

    /// What an answer takes as a rule.
    pub(super) fn octaves(&self) -> f64 {
        self.octaves
    }

    /// What answers take in the mean.
    pub(super) fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Takes in one more time. The first ones weigh alike, later ones by the time since the last.
    pub(super) fn learn(&mut self, latency: Duration, is_faster: bool, now: Instant) {
        self.samples += 1.0;
        let passed = now.saturating_duration_since(self.at).as_secs_f64() / MEMORY;
        let least = if is_faster { FASTER } else { 0.0 };
        let weight = passed.max(1.0 / self.samples).max(least).min(1.0);
        self.octaves += weight * (octaves(latency) - self.octaves);
        self.seconds += weight * (latency.as_secs_f64() - self.seconds);
        self.at = now;
    }
}
