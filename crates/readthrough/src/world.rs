//! What the engine takes from outside, so that a seed can replay a run: the clock, randomness, and tasks.

use std::future::Future;
use std::time::{Duration, Instant};

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
pub struct Live {
    origin: Instant,
}

impl Live {
    /// Time begins now.
    pub fn begin() -> Self {
        Self { origin: Instant::now() }
    }
}

impl World for Live {
    fn now(&self) -> Moment {
        Moment::default().after(self.origin.elapsed())
    }

    fn random(&self) -> f64 {
        rand::random()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }
}
