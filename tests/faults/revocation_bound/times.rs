//! How long revoked tokens were accepted, by what happened meanwhile.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::plan::Plan;

/// For each fault, and each way of revoking, what came of it.
#[derive(Default)]
pub(super) struct Times(BTreeMap<String, Vec<Duration>>);

impl Times {
    /// Takes note of how long each gateway let the token in: the one that nothing is done to, the one behind the wire, and the one
    /// whose process is stopped or killed.
    pub(super) fn add(&mut self, plan: &Plan, accepted: [Duration; 3]) {
        let [undisturbed, wired, stopped] = accepted;
        let longest = undisturbed.max(wired).max(stopped);
        let mut add = |of: String, time| self.0.entry(of).or_default().push(time);
        add("gateway None".to_owned(), undisturbed);
        add(format!("gateway {:?}", plan.wire), wired);
        add(format!("gateway {:?}", plan.process), stopped);
        add(format!("auth {:?}", plan.auth), longest);
        add(format!("revocation {:?}", plan.revocation), longest);
        add("all".to_owned(), longest);
    }
}

impl fmt::Display for Times {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (of, times) in &self.0 {
            let mut times = times.clone();
            times.sort_unstable();
            let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
            let count = times.len();
            writeln!(
                formatter,
                "{of}: {count} times, accepted for {:.1?} at the median, {:.1?} p99, {:.1?} at the most",
                at(50),
                at(99),
                at(100)
            )?;
        }
        Ok(())
    }
}
