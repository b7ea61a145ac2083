//! How long loads of a method take: a running mean and deviation, as TCP keeps them of its round trips (RFC 6298), and the median
//! of the last ones.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The least that is told of: a method that is always fast has pauses as well.
const LEAST: Duration = Duration::from_millis(100);

/// Of how many loads the median is. When it has fallen, half of them have to tell.
const RECENT: usize = 15;

/// The times of the loads that brought an answer.
#[derive(Debug, Default)]
pub struct LoadTimes(Mutex<Times>);

#[derive(Debug, Default)]
struct Times {
    estimate: Option<Estimate>,
    recent: VecDeque<Duration>,
    median: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Estimate {
    mean: Duration,
    deviation: Duration,
}

impl LoadTimes {
    /// Counts one.
    pub(crate) fn record(&self, time: Duration) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.see(time);
        times.estimate = Some(match times.estimate {
            None => Estimate { mean: time, deviation: time / 2 },
            Some(Estimate { mean, deviation }) => {
                Estimate { deviation: (deviation * 3 + mean.abs_diff(time)) / 4, mean: (mean * 7 + time) / 8 }
            }
        });
    }

    /// A time within which nearly every load ends: its mean, and four times its deviation. Nothing where none has ended yet.
    pub(crate) fn usual(&self) -> Option<Duration> {
        let estimate = self.0.lock().unwrap_or_else(PoisonError::into_inner).estimate;
        estimate.map(|Estimate { mean, deviation }| (mean + deviation * 4).max(LEAST))
    }

    /// What half of the last loads took at least. Nothing before there were so many: the first ones make connections.
    pub(crate) fn median(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).median
    }
}

impl Times {
    fn see(&mut self, time: Duration) {
        self.recent.push_back(time);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        if self.recent.len() == RECENT {
            let mut sorted: Vec<_> = self.recent.iter().copied().collect();
            sorted.sort_unstable();
            self.median = sorted.get(RECENT / 2).copied();
        }
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
    fn median_is_that_of_the_last_fifteen_loads_once_there_are_so_many() {
        let loads = LoadTimes::default();
        let record = |time, times| (0..times).for_each(|_| loads.record(Duration::from_millis(time)));
        record(900, 14);
        assert_eq!(loads.median(), None);
        record(900, 1);
        assert_eq!(loads.median(), Some(Duration::from_millis(900)));
        record(5, 7);
        assert_eq!(loads.median(), Some(Duration::from_millis(900)));
        record(5, 1);
        assert_eq!(loads.median(), Some(Duration::from_millis(5)));
    }

    #[test]
    fn usual_time_follows_mean_and_deviation() {
        assert_eq!(after([200]), Some(Duration::from_millis(600)), "half of the first time is its deviation");
        let steady = after(std::iter::repeat_n(200, 100)).unwrap();
        assert!((200..=210).contains(&steady.as_millis()), "{steady:?}");
        assert!(after((0..100).map(|n| if n % 2 == 0 { 100 } else { 300 })).unwrap() > Duration::from_millis(500));
    }
}
