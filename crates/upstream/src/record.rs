//! What is remembered of an endpoint's answers: its latency, its failures, and until when it is ejected.

use std::time::Duration;

use accord_runtime::backoff;
use tokio::time::Instant;

use crate::load::PeakEwma;

/// UNAVAILABLE answers in a row after which an endpoint is ejected.
pub(crate) const FAILURES: u32 = 5;
/// How long it is ejected the first time; twice as long each further time, up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(500);
/// The longest time an endpoint is ejected before it is tried again.
const LONGEST: Duration = Duration::from_secs(10);
/// ±20%, so that many callers don't come back at the same moment.
const JITTER: f64 = 0.2;

/// What is remembered of an endpoint's answers.
#[derive(Debug)]
pub(crate) struct Record {
    pub latency: PeakEwma,
    counts: Counts,
    failures: u32,
    ejections: u32,
    until: Option<Instant>,
    outlier: Outlier,
}

/// The ejection of an endpoint because of the share of its calls that fail. No single answer ends it.
#[derive(Debug, Default)]
struct Outlier {
    /// How often it was one of late: this many times as long is the next ejection.
    ejections: u32,
    until: Option<Instant>,
}

/// The calls of an endpoint in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub succeeded: u32,
    pub failed: u32,
}

impl Record {
    /// Nothing known yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            latency: PeakEwma::new(now),
            counts: Counts::default(),
            failures: 0,
            ejections: 0,
            until: None,
            outlier: Outlier::default(),
        }
    }

    pub(crate) fn is_ejected(&self, now: Instant) -> bool {
        [self.until, self.outlier.until].into_iter().flatten().any(|until| now < until)
    }

    /// Counts a call in, for the share that fails.
    pub(crate) fn count(&mut self, is_failure: bool) {
        let count = if is_failure { &mut self.counts.failed } else { &mut self.counts.succeeded };
        *count = count.saturating_add(1);
    }

    /// It works. Whether that ends an ejection.
    pub(crate) fn succeed(&mut self) -> bool {
        self.failures = 0;
        self.ejections = 0;
        self.until.take().is_some()
    }

    /// It failed; how often in a row.
    pub(crate) fn fail(&mut self) -> u32 {
        self.failures += 1;
        self.failures
    }

    /// For how long it is ejected from now on; none where it was ejected already.
    pub(crate) fn eject(&mut self, now: Instant) -> Option<Duration> {
        // Calls that were under way together fail together: they count as one.
        if self.until.is_some_and(|until| now < until) {
            return None;
        }
        let time = backoff::jittered(backoff::exponential(SHORTEST, LONGEST, self.ejections), JITTER);
        self.until = Some(now + time);
        self.ejections += 1;
        self.failures = 0;
        Some(time)
    }

    /// The calls since this was asked last.
    pub(crate) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// An interval is over. Each in which it was no outlier makes its next ejection shorter again (gRFC A50).
    pub(crate) fn end_interval(&mut self, now: Instant) {
        match self.outlier.until {
            Some(until) if now < until => {}
            Some(_over) => self.outlier.until = None,
            None => self.outlier.ejections = self.outlier.ejections.saturating_sub(1),
        }
    }

    /// Ejects it for the share of its calls that fail: for `base`, as many times as that has happened of late, `longest` at
    /// most.
    pub(crate) fn eject_outlier(&mut self, base: Duration, longest: Duration, now: Instant) -> Duration {
        self.outlier.ejections += 1;
        let time = base.saturating_mul(self.outlier.ejections).min(longest.max(base));
        self.outlier.until = Some(now + time);
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn outlier_is_ejected_for_longer_each_time_and_shorter_again_after_quiet_intervals() {
        let (base, longest) = (Duration::from_secs(30), Duration::from_secs(80));
        let (mut record, now) = (Record::new(Instant::now()), Instant::now());
        let eject = |record: &mut Record| record.eject_outlier(base, longest, now).as_secs();
        assert_eq!([eject(&mut record), eject(&mut record), eject(&mut record)], [30, 60, 80]);
        // The first of these ends the ejection, the others are quiet.
        (0..3).for_each(|_| record.end_interval(now + longest));
        assert_eq!(eject(&mut record), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn outlier_stays_one_through_success() {
        let (mut record, now) = (Record::new(Instant::now()), Instant::now());
        record.eject_outlier(Duration::from_secs(30), Duration::from_secs(30), now);
        record.succeed();
        assert!(record.is_ejected(now + Duration::from_secs(29)) && !record.is_ejected(now + Duration::from_secs(30)));
    }
}
