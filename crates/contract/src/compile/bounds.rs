//! The bounds of single values.

use std::time::Duration;

use crate::finding::Finding;

/// Longer than anybody means, and short enough that sums of durations and moments stay far from overflow.
pub(super) const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// Collects what is out of bounds in one method's policy.
pub(super) struct Bounds<'a> {
    pub(super) name: &'a str,
    pub(super) findings: &'a mut Vec<Finding>,
}

impl Bounds<'_> {
    pub(super) fn refuse(&mut self, option: &str, problem: impl Into<String>, remedy: &str) {
        self.findings.push(Finding::error(self.name, option, problem, remedy));
    }

    /// A duration that has a meaning only above zero.
    pub(super) fn positive(&mut self, option: &str, declared: Option<prost_types::Duration>) -> Duration {
        let refusals = self.findings.len();
        let duration = self.at_least_zero(option, declared);
        if duration.is_zero() && self.findings.len() == refusals {
            self.refuse(option, "is zero", "give a duration above zero, or leave the option out");
        }
        duration
    }

    /// A duration for which zero means "not at all", so that a method can turn off what its service declares.
    pub(super) fn at_least_zero(&mut self, option: &str, declared: Option<prost_types::Duration>) -> Duration {
        let (problem, remedy) = match Duration::try_from(declared.unwrap_or_default()) {
            Ok(duration) if duration <= LONGEST => return duration,
            Ok(_) => ("is longer than 100 years", "give a shorter duration, or leave the option out"),
            Err(_) => ("is negative or out of range", "give a duration above zero, or leave the option out"),
        };
        self.refuse(option, problem, remedy);
        Duration::ZERO
    }

    /// A limit: zero would forbid the method.
    pub(super) fn limit<N: Default + PartialEq>(&mut self, option: &str, declared: N) -> N {
        if declared == N::default() {
            self.refuse(option, "is a limit of zero, which nothing passes", "give a limit above zero");
        }
        declared
    }
}
