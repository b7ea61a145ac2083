//! The server's clock, by which values tell their age. It is a wall clock, and may be set back, or differ from that of the node of a
//! Cluster that takes over: then a value would look younger than it is.
//!
//! So each reading is held against the earlier ones, carried on by the own clock, which only goes forward: the server's time is never
//! earlier than any of them comes to. What is older than the longest life is not used, so readings older than that count no more.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use accord_readthrough::Moment;

/// What is known of the clocks of all nodes.
#[derive(Debug)]
pub(super) struct ServerClock {
    longest_life: Duration,
    readings: Mutex<Readings>,
}

/// The furthest that the server's clock was ahead of the own one, in nanoseconds: in the time that runs, and in the one before.
#[derive(Debug)]
struct Readings {
    began: Moment,
    ahead: i128,
    ahead_before: i128,
}

impl ServerClock {
    /// Values older than this are not used.
    pub(super) fn new(longest_life: Duration) -> Self {
        let readings = Readings { began: Moment::default(), ahead: i128::MIN, ahead_before: i128::MIN };
        Self { longest_life, readings: Mutex::new(readings) }
    }

    /// The server's time since 1970, which it told in what was received now: never less than earlier readings come to.
    pub(super) fn read(&self, told: Duration, now: Moment) -> Duration {
        let own = i128::from(now.0);
        let ahead = i128::try_from(told.as_nanos()).unwrap_or(i128::MAX).saturating_sub(own);
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(readings.began) > self.longest_life {
            *readings = Readings { began: now, ahead: i128::MIN, ahead_before: readings.ahead };
        }
        readings.ahead = readings.ahead.max(ahead);
        let furthest = readings.ahead.max(readings.ahead_before);
        let nanoseconds = u64::try_from(furthest.saturating_add(own)).unwrap_or_default();
        Duration::from_nanos(nanoseconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_mins(1);

    fn at(seconds: u64) -> Moment {
        Moment::default().after(Duration::from_secs(1_000 + seconds))
    }

    fn told(seconds: u64) -> Duration {
        Duration::from_secs(1_800_000_000 + seconds)
    }

    #[test]
    fn server_that_is_set_back_is_taken_to_have_gone_on() {
        let clock = ServerClock::new(LONGEST);
        assert_eq!(clock.read(told(0), at(0)), told(0));
        assert_eq!(clock.read(told(10), at(10)), told(10));
        assert_eq!(clock.read(told(5), at(20)), told(20), "15 seconds were taken away");
        assert_eq!(clock.read(told(50), at(21)), told(50), "forward it is believed");
    }

    #[test]
    fn reading_is_remembered_for_the_longest_life_and_forgotten_after_two() {
        let clock = ServerClock::new(LONGEST);
        clock.read(told(1_000), at(0));
        assert_eq!(clock.read(told(60), at(60)), told(1_060));
        assert_eq!(clock.read(told(61), at(61)), told(1_061));
        assert_eq!(clock.read(told(122), at(122)), told(122), "all that was loaded then is too old by now");
    }
}
