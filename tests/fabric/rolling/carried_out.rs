//! What the sample service carried out, as its access log tells: a creation under a key runs once, and so does a write that may not be
//! repeated. Products have ids of their own, so the service refuses the second run of a creation; that it came to it is what is looked
//! for.
//!
//! All records of keys are in the PostgreSQL that the caches share, so none is lost with a cache. What the contract leaves open is one
//! case: where a gateway is killed with a call in flight, its key stays claimed until some time after the call's deadline, and who
//! repeats the call after that may have it done a second time (`deploy/guide/policies.md`). Such runs are counted apart.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::Timestamp;
use serde_json::Value;

/// How request ids of creations begin; the product's id follows.
pub(super) const CREATION: &str = "creation-of-";
/// How those of writes begin that may not be repeated.
pub(super) const ONCE: &str = "once-";
/// How long after a call's deadline its key stays claimed, in seconds.
const CLAIM: f64 = 10.0;
/// Moments of two processes are compared, in seconds.
const TOLERANCE: f64 = 0.5;
/// How a run ends that may have been done. Others did nothing: the service, which is not restarted here, says UNAVAILABLE before its handler
/// alone, where it can't verify who calls.
const MAYBE_DONE: [&str; 4] = ["OK", "ALREADY_EXISTS", "CANCELLED", "DEADLINE_EXCEEDED"];

/// One run of a call, whose times are seconds since 1970.
struct Run<'a> {
    began: f64,
    deadline: f64,
    status: &'a str,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct CarriedOut {
    /// Creations that went well.
    pub creations: usize,
    /// Runs of a creation after the claim of the run before had ended.
    pub after_claim: usize,
    /// What ran again although its key was claimed or recorded, or although it may not be repeated.
    pub twice: Vec<String>,
    /// Products that a caller was told are there, and that the service never made.
    pub missing: Vec<String>,
}

impl CarriedOut {
    /// Reads the access log of the service, of which callers were told that these products are there.
    pub(super) fn of(log: &str, answered: &BTreeSet<String>) -> Self {
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut runs: BTreeMap<&str, Vec<Run<'_>>> = answered.iter().map(|id| (&**id, Vec::new())).collect();
        let mut unread = Vec::new();
        for line in &lines {
            let id = line["request_id"].as_str().filter(|id| id.starts_with(CREATION) || id.starts_with(ONCE));
            // Others than those of the access log say nothing of how long a call took.
            let Some(id) = id.filter(|_| line["duration_ms"].is_number()) else { continue };
            match Run::of(line) {
                Some(run) => runs.entry(id).or_default().push(run),
                None => unread.push(format!("{id}: a line that can't be read: {line}")),
            }
        }
        let mut found = Self { twice: unread, ..Self::default() };
        for (id, mut runs) in runs {
            runs.sort_by(|one, other| one.began.total_cmp(&other.began));
            found.judge(id, &runs);
            let is_done = runs.iter().any(|run| run.status == "OK");
            found.creations += usize::from(is_done && id.starts_with(CREATION));
            if !is_done && answered.contains(id) {
                found.missing.push(id.to_owned());
            }
        }
        found
    }

    fn judge(&mut self, id: &str, runs: &[Run<'_>]) {
        let done: Vec<_> = runs.iter().filter(|run| MAYBE_DONE.contains(&run.status)).collect();
        for (before, run) in done.iter().zip(done.iter().skip(1)) {
            let is_claimed = run.began < before.deadline + CLAIM - TOLERANCE;
            if is_claimed || id.starts_with(ONCE) {
                let after = run.began - before.began;
                self.twice.push(format!("{id}: {}, and {} {after:.1} s later", before.status, run.status));
            } else {
                self.after_claim += 1;
            }
        }
    }

    /// What a report says of it.
    pub(super) fn lines(&self) -> Vec<String> {
        let (twice, missing) = (self.twice.len(), self.missing.len());
        let head = format!(
            "creations     {} carried out; {} ran again after the claim of a killed gateway had ended, {twice} before, {missing} are missing",
            self.creations, self.after_claim
        );
        let told = self.twice.iter().chain(&self.missing).map(|what| format!("              {what}"));
        [head].into_iter().chain(told).collect()
    }
}

impl<'a> Run<'a> {
    /// None of another line.
    fn of(line: &'a Value) -> Option<Self> {
        let ended: Timestamp = line["time"].as_str()?.parse().ok()?;
        let seconds = i32::try_from(ended.seconds).ok()?;
        let ended = f64::from(seconds) + f64::from(ended.nanos) / 1e9;
        let field = |name: &str| Some(line[name].as_f64()? / 1_000.0);
        let began = ended - field("duration_ms")?;
        Some(Self { began, deadline: began + field("timeout_ms")?, status: line["status"].as_str()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that began at this second of a minute, with three seconds until its deadline.
    fn line(id: &str, second: u32, status: &str) -> String {
        let (time, method) = (format!("2026-12-01T01:00:{second:02}.250Z"), "catalog.v1.ProductService/CreateProduct");
        let line = serde_json::json!({
            "time": time, "method": method, "status": status, "duration_ms": 250.0, "timeout_ms": 3000, "request_id": id,
        });
        line.to_string()
    }

    fn found(lines: &[String], answered: &[&str]) -> (usize, usize, usize, usize) {
        let answered = answered.iter().map(|id| (*id).to_owned()).collect();
        let found = CarriedOut::of(&lines.join("\n"), &answered);
        (found.creations, found.after_claim, found.twice.len(), found.missing.len())
    }

    #[test]
    fn creation_that_runs_again_while_its_key_is_claimed_is_carried_out_twice() {
        for (first, second) in [("OK", "ALREADY_EXISTS"), ("CANCELLED", "OK"), ("OK", "OK")] {
            let lines = [line("creation-of-a", 1, first), line("creation-of-a", 13, second)];
            assert_eq!(found(&lines, &["creation-of-a"]), (1, 0, 1, 0), "{first}, {second}");
        }
    }

    #[test]
    fn creation_that_runs_again_after_its_claim_has_ended_is_counted_apart() {
        let lines = [line("creation-of-a", 1, "OK"), line("creation-of-a", 14, "ALREADY_EXISTS")];
        assert_eq!(found(&lines, &[]), (1, 1, 0, 0));
    }

    #[test]
    fn creation_that_certainly_did_nothing_may_run_again_at_once() {
        let lines = [line("creation-of-a", 1, "ABORTED"), line("creation-of-a", 1, "OK"), line("other", 1, "OK")];
        assert_eq!(found(&lines, &["creation-of-a"]), (1, 0, 0, 0));
    }

    #[test]
    fn write_that_may_not_be_repeated_runs_once_however_late_it_runs_again() {
        let lines = [line("once-a-1", 1, "OK"), line("once-a-1", 40, "OK"), line("once-a-2", 1, "OK")];
        assert_eq!(found(&lines, &[]), (0, 0, 1, 0));
    }

    #[test]
    fn creation_that_was_answered_and_never_carried_out_is_missing() {
        let lines = [line("creation-of-a", 1, "CANCELLED")];
        assert_eq!(found(&lines, &["creation-of-a", "creation-of-b"]), (0, 0, 0, 2));
    }
}
