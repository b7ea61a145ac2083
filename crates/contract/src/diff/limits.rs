//! Rate limits, compared: each with the one that counts the same callers.

use accord_api::accord::policy::v1::{MethodPolicy, RateLimit};
use std::time::Duration;

use super::{Change, Effect};

/// The changes of a method's rate limits.
pub(super) fn changes(name: &str, old: &MethodPolicy, new: &MethodPolicy) -> Vec<Change> {
    let (mut before, mut after) = (sorted(&old.rate_limit), sorted(&new.rate_limit));
    // What is the same on both sides says nothing of the others.
    before.retain(|limit| match after.iter().position(|it| it == limit) {
        Some(same) => {
            after.remove(same);
            false
        }
        None => true,
    });
    let mut changes = Vec::new();
    for limit in before {
        let counterpart = after.iter().position(|it| it.by == limit.by).map(|index| after.remove(index));
        changes.extend(change(name, Some(&limit), counterpart.as_ref()));
    }
    changes.extend(after.iter().filter_map(|limit| change(name, None, Some(limit))));
    changes
}

fn change(name: &str, old: Option<&RateLimit>, new: Option<&RateLimit>) -> Option<Change> {
    let (effect, why) = match (old, new) {
        (None, None) => return None,
        (Some(_), None) => (Effect::LOOSENS, "nothing bounds how often it is called"),
        (None, Some(_)) => (Effect::BREAKS, "calls beyond the limit are refused"),
        (Some(old), Some(new)) => {
            let (less, more) = (is_less(new, old), is_less(old, new));
            let why = match (less, more) {
                (true, true) => "calls are refused that were taken, and others taken that were refused",
                (true, false) => "fewer calls are taken",
                (false, _) => "more calls are taken",
            };
            (Effect { breaks: less, loosens: more }, why)
        }
    };
    let text = |limit: Option<&RateLimit>| limit.map(text).unwrap_or_default();
    Some(Change { before: text(old), after: text(new), effect, ..Change::neutral(name, "rate_limit", why) })
}

/// Whether a limit takes fewer calls than another of somebody: of those without a plan, or with one of a role.
fn is_less(one: &RateLimit, other: &RateLimit) -> bool {
    let roles = one.plans.iter().chain(&other.plans).map(|plan| Some(&*plan.role));
    std::iter::once(None).chain(roles).any(|role| Figures::of(one, role).is_less(&Figures::of(other, role)))
}

/// How often, and how many at once.
struct Figures {
    requests: u32,
    per: Duration,
    burst: u32,
}

impl Figures {
    /// Those that hold for whoever has a role: of its plan, or of the limit where it has none.
    fn of(limit: &RateLimit, role: Option<&str>) -> Self {
        let own = || Self { requests: limit.requests, per: duration(limit.per), burst: limit.burst() };
        let plan = limit.plans.iter().find(|plan| Some(&*plan.role) == role);
        plan.map_or_else(own, |plan| Self { requests: plan.requests, per: duration(plan.per), burst: plan.burst() })
    }

    /// Whether these are fewer than others, for long or at once.
    fn is_less(&self, other: &Self) -> bool {
        let (rate, others) =
            (u128::from(self.requests) * other.per.as_nanos(), u128::from(other.requests) * self.per.as_nanos());
        rate < others || self.burst < other.burst
    }

    fn text(&self) -> String {
        let Self { requests, per, burst } = self;
        format!("{requests} in {}, {burst} at once", humantime::format_duration(*per))
    }
}

fn duration(per: Option<prost_types::Duration>) -> Duration {
    per.and_then(|per| per.try_into().ok()).unwrap_or_default()
}

/// The least first, of those that count the same.
fn sorted(limits: &[RateLimit]) -> Vec<RateLimit> {
    let mut limits = limits.to_vec();
    limits.sort_by_key(|limit| (limit.by, duration(limit.per)));
    limits
}

fn text(limit: &RateLimit) -> String {
    let by = limit.by().as_str_name().trim_start_matches("RATE_LIMIT_BY_");
    let own = Figures::of(limit, None).text();
    let plans =
        limit.plans.iter().map(|plan| format!(", {} for {}", Figures::of(limit, Some(&plan.role)).text(), plan.role));
    format!("{own}, by {by}{}", plans.collect::<String>())
}
