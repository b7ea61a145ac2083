//! How long loads of a method take: a running mean and deviation, as TCP keeps them of its round trips (RFC 6298).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The least that is told of: a method that is always fast has pauses as well.
const LEAST: Duration = Duration::from_millis(100);

/// The times of the loads that brought an answer.
#[derive(Debug, Default)]
pub struct LoadTimes(Mutex<Option<Estimate>>);

#[derive(Clone, Copy, Debug)]
struct Estimate {
    mean: Duration,
    deviation: Duration,
}

impl LoadTimes {
    /// Counts one.
    pub(crate) fn record(&self, time: Duration) {
        let mut estimate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *estimate = Some(match *estimate {
            None => Estimate { mean: time, deviation: time / 2 },
            Some(Estimate { mean, deviation }) => {
                Estimate { deviation: (deviation * 3 + mean.abs_diff(time)) / 4, mean: (mean * 7 + time) / 8 }
            }
        });
    }

    /// A time within which nearly every load ends: its mean, and four times its deviation. Nothing where none has ended yet.
    pub(crate) fn usual(&self) -> Option<Duration> {
        let estimate = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        estimate.map(|Estimate { mean, deviation }| (mean + deviation * 4).max(LEAST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(times: impl IntoIterator<Item = u64>) -> Option<Duration> {
        let loads = LoadTimes::default();
        times.into_iter().for_each(|time| loads.record(Duration::from_millis(time)));
        loads.usual()
    }

    #[test]
    fn usual_time_is_unknown_before_the_first_load_and_never_tiny() {
        assert_eq!(after([]), None);
        assert_eq!(after([1]), Some(LEAST));
    }

    #[test]
    fn usual_time_follows_mean_and_deviation() {
        assert_eq!(after([200]), Some(Duration::from_millis(600)), "half of the first time is its deviation");
        let steady = after(std::iter::repeat_n(200, 100)).unwrap();
        assert!((200..=210).contains(&steady.as_millis()), "{steady:?}");
        assert!(after((0..100).map(|n| if n % 2 == 0 { 100 } else { 300 })).unwrap() > Duration::from_millis(500));
    }
}
