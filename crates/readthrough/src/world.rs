//! What the engine takes from outside, so that a seed can replay a run: the clock, randomness, and tasks.

use std::future::Future;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A point of monotonic time, in nanoseconds from an origin that the world chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// Time since an earlier moment; nothing where it is a later one.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment that comes this much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The moment that was this much earlier.
    #[must_use]
    pub fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The clock, randomness, and tasks.
pub trait World: Send + Sync + 'static {
    /// Monotonic: never goes back.
    fn now(&self) -> Moment;
    /// Evenly from 0 (inclusive) to 1 (exclusive).
    fn random(&self) -> f64;
    /// Runs a task to its end, whoever else leaves.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);
}

/// The real world, on Tokio.
#[derive(Clone, Copy, Debug)]
pub struct Live;

/// A clock that goes on while the machine sleeps, where the system has one: what is kept ages meanwhile.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
/// On Apple's systems this one goes on.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

impl World for Live {
    fn now(&self) -> Moment {
        let now = clock_gettime(CLOCK);
        let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
        Moment(
            seconds.unwrap_or_default().saturating_mul(1_000_000_000).saturating_add(nanoseconds.unwrap_or_default()),
        )
    }

    fn random(&self) -> f64 {
        rand::random()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/proc/uptime` counts what the machine slept.
    #[cfg(target_os = "linux")]
    #[test]
    fn live_clock_counts_from_the_boot_of_the_machine() {
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = text.split(' ').next().unwrap().parse().unwrap();
        let apart = Duration::from_nanos(Live.now().0).abs_diff(Duration::from_secs_f64(uptime));
        assert!(apart < Duration::from_secs(5), "{apart:?}");
    }
}
