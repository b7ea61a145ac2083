//! What came of a soak.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{Fault, judge::Judge, prices::PriceJudge};

/// Of a thousand reads at a gateway that is neither killed nor paused, so many are answered, whatever happens to caches, database
/// and log: a declared read goes past a cache that does not answer, to its service.
const AVAILABILITY: u64 = 990;

/// What came of a soak.
#[derive(Debug)]
pub struct Report {
    seed: u64,
    took: Duration,
    faults: Vec<(Duration, Fault)>,
    has_tried: bool,
    availability: u64,
    violations: u64,
    text: String,
}

impl Report {
    pub(super) fn of(
        wanted: u64,
        seed: u64,
        begun: Instant,
        faults: Vec<(Duration, Fault)>,
        judge: &Judge,
        prices: Option<&PriceJudge>,
    ) -> Self {
        let ((violations, told), of_prices) =
            (judge.violations(), prices.map(PriceJudge::violations).unwrap_or_default());
        let violations = violations + of_prices.len() as u64;
        let mut lines = vec![format!("writes        {}", judge.writes)];
        lines.extend(judge.reads.iter().enumerate().map(|(at, reads)| format!("reads at {}    {reads}", at + 1)));
        let availability = judge.availability();
        let (percent, tenth) = (availability / 10, availability % 10);
        lines.push(format!("availability  {percent}.{tenth} % of the reads at gateways to which nothing was done"));
        let [median, high] = [500, 990].map(|permille| judge.latency.quantile(permille).as_secs_f64() * 1_000.0);
        lines.push(format!("read latency  p50 {median:.1} ms, p99 {high:.1} ms"));
        let longest = judge.longest_deferred().as_millis();
        lines.push(format!("deferred      not seen for {longest} ms at the longest"));
        lines.extend(prices.map(|prices| format!("prices        {prices}")));
        lines.extend(judge.failures().iter().map(|(cause, count)| format!("not answered  {count:>6} {cause}")));
        lines.push(format!("violations    {violations}"));
        lines.extend(told.into_iter().chain(of_prices));
        Self {
            seed,
            took: begun.elapsed(),
            faults,
            has_tried: judge.has_tried(wanted) && prices.is_none_or(PriceJudge::has_tried),
            availability,
            violations,
            text: lines.join("\n"),
        }
    }

    /// How often each kind of fault was there.
    fn by_kind(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for (_, fault) in &self.faults {
            *kinds.entry(format!("{:?}", fault.kind)).or_default() += 1;
        }
        kinds
    }

    /// Fails where the promise was broken, or hardly tried.
    pub fn verdict(&self) -> Result<()> {
        ensure!(self.violations == 0, "the promise was broken {} times\n{self}", self.violations);
        ensure!(!self.faults.is_empty(), "no process was paused or killed\n{self}");
        let why = "the promise was hardly tried in this time: too few writes were acknowledged, met a lease of the other gateway, or were told by an outbox";
        ensure!(self.has_tried, "{why}\n{self}");
        ensure!(self.availability >= AVAILABILITY, "too few reads were answered\n{self}");
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.violations > 0 {
            for (at, fault) in &self.faults {
                writeln!(formatter, "fault at {:>7.1} s  {fault}", at.as_secs_f64())?;
            }
        }
        let (seconds, faults) = (self.took.as_secs_f64(), self.faults.len());
        for (kind, count) in self.by_kind() {
            writeln!(formatter, "fault         {count:>6} {kind}")?;
        }
        write!(formatter, "{}\nseed {}, {faults} faults in {seconds:.1} s", self.text, self.seed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::{
        super::{Kind, Schedule},
        *,
    };

    /// What is said of a soak with so many acknowledged writes, of which so many met a lease.
    fn verdict(acknowledged: u64, against_lease: u64, faults: usize, unanswered: u64) -> Result<()> {
        let judge = Judge::new();
        judge.writes.acknowledged.store(acknowledged, Ordering::Relaxed);
        judge.writes.against_lease.store(against_lease, Ordering::Relaxed);
        let reads = &judge.reads[0];
        (0..1_000).for_each(|at| reads.count(at >= unanswered, reads.disturbances()));
        let mut schedule = Schedule::new(1, &Kind::PROCESSES, Duration::from_secs(1));
        let faults = (0..faults).map(|_| (Duration::ZERO, schedule.draw().1)).collect();
        Report::of(100, 1, Instant::now(), faults, &judge, None).verdict()
    }

    #[test]
    fn soak_in_which_writes_met_leases_and_nothing_was_missed_passes() {
        assert!(verdict(100, 50, 6, 10).is_ok());
    }

    #[test]
    fn soak_that_hardly_tried_the_promise_fails() {
        for (acknowledged, against_lease, faults) in [(100, 4, 6), (99, 50, 6), (100, 50, 0)] {
            assert!(
                verdict(acknowledged, against_lease, faults, 0).is_err(),
                "{acknowledged} {against_lease} {faults}"
            );
        }
    }

    #[test]
    fn soak_in_which_too_few_reads_were_answered_fails() {
        assert!(verdict(100, 50, 6, 11).is_err());
    }
}
