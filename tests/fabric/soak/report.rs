//! What came of a soak.

use std::{
    fmt,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{Fault, judge::Judge};

/// Of so many acknowledged writes one at least met a lease of the other gateway: with fewer, nothing was tried.
const ONE_AGAINST_LEASE: u64 = 20;

/// What came of a soak.
#[derive(Debug)]
pub struct Report {
    seed: u64,
    took: Duration,
    faults: Vec<(Duration, Fault)>,
    acknowledged: u64,
    wanted: u64,
    against_lease: u64,
    violations: u64,
    text: String,
}

impl Report {
    pub(super) fn of(wanted: u64, seed: u64, begun: Instant, faults: Vec<(Duration, Fault)>, judge: &Judge) -> Self {
        let (violations, told) = judge.violations();
        let mut lines = vec![format!("writes        {}", judge.writes)];
        lines.extend(judge.reads.iter().enumerate().map(|(at, reads)| format!("reads at {}    {reads}", at + 1)));
        let longest = judge.longest_deferred().as_millis();
        lines.push(format!("deferred      not seen for {longest} ms at the longest"));
        lines.extend(judge.failures().iter().map(|(cause, count)| format!("not answered  {count:>6} {cause}")));
        lines.push(format!("violations    {violations}"));
        lines.extend(told);
        Self {
            seed,
            took: begun.elapsed(),
            faults,
            acknowledged: judge.acknowledged(),
            wanted,
            against_lease: judge.writes.against_lease.load(Ordering::Relaxed),
            violations,
            text: lines.join("\n"),
        }
    }

    /// Fails where the promise was broken, or hardly tried.
    pub fn verdict(&self) -> Result<()> {
        ensure!(self.violations == 0, "the promise was broken {} times\n{self}", self.violations);
        ensure!(!self.faults.is_empty(), "no process was paused or killed\n{self}");
        ensure!(
            self.acknowledged >= self.wanted,
            "{} writes are fewer than {}\n{self}",
            self.acknowledged,
            self.wanted
        );
        ensure!(
            self.against_lease * ONE_AGAINST_LEASE >= self.acknowledged,
            "only {} of {} writes met a lease of the other gateway, so the promise was hardly tried: the machine is too slow for \
             such leases\n{self}",
            self.against_lease,
            self.acknowledged
        );
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
        write!(formatter, "{}\nseed {}, {faults} faults in {seconds:.1} s", self.text, self.seed)
    }
}
