//! How long answers took, in steps of an eighth.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Steps of a doubling.
const FINE: u32 = 3;
/// Up to more than an hour.
const STEPS: usize = 32 << FINE;

/// A histogram of microseconds.
#[derive(Debug)]
pub(crate) struct Latency([AtomicU64; STEPS]);

impl Latency {
    pub(crate) fn new() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }

    pub(crate) fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0[step(micros)].fetch_add(1, Ordering::Relaxed);
    }

    /// So many thousandths of the answers took no longer.
    pub(crate) fn quantile(&self, permille: u64) -> Duration {
        let counts = self.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        let wanted = (counts.iter().sum::<u64>() * permille).div_ceil(1_000);
        let mut below = 0;
        for (step, count) in counts.iter().enumerate() {
            below += count;
            if below >= wanted {
                return Duration::from_micros(end(step));
            }
        }
        Duration::ZERO
    }
}

fn step(micros: u64) -> usize {
    let doublings = micros.max(1 << FINE).ilog2();
    let fine = (micros >> (doublings - FINE)) & ((1 << FINE) - 1);
    ((doublings as usize) << FINE | fine as usize).min(STEPS - 1)
}

/// The longest of a step.
fn end(step: usize) -> u64 {
    let (doublings, fine) = (step >> FINE, (step & ((1 << FINE) - 1)) as u64);
    (((1 << FINE) + fine + 1) << doublings >> FINE) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_is_at_most_an_eighth_above_what_was_recorded() {
        let latency = Latency::new();
        for micros in 1..=10_000 {
            latency.record(Duration::from_micros(micros));
        }
        for (permille, exact) in [(500, 5_000.0), (990, 9_900.0), (1_000, 10_000.0)] {
            let told = latency.quantile(permille).as_secs_f64() * 1e6;
            assert!((exact..exact * 1.126).contains(&told), "{told} µs of {exact} µs");
        }
    }

    #[test]
    fn quantile_of_nothing_is_none() {
        assert_eq!(Latency::new().quantile(990), Duration::ZERO);
    }
}
