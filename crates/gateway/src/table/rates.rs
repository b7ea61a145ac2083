//! Rate limiter (GCRA): how often a method was called lately, by whomever its contract counts.

mod counts;

use self::counts::{Counts, Pace};
use accord_contract::{RateLimit, RateLimitBy, RateLimitPlan};
use http::HeaderValue;
use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

/// The moment from which counts have their time.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Whose calls are counted together.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum RateLimitKey {
    /// Those of a principal.
    Principal(Arc<str>),
    /// Those of a tenant; of everybody unknown where there is none.
    Tenant(Option<Arc<str>>),
    /// Those from an address; of IPv6 from a network of 64 bits.
    Address(IpAddr),
    /// All of the method.
    Method,
}

/// Whether a call is counted, or only held against what was counted before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    Take,
    Look,
}

/// A declared limit: what holds for callers by their roles.
pub(crate) struct Rate {
    /// Who is counted.
    pub by: RateLimitBy,
    quota: Quota,
    /// Those of roles, strongest first.
    plans: Box<[Quota]>,
}

/// Figures of a limit, with the counts of those for whom they hold.
pub(crate) struct Quota {
    /// The role whose members they are for; none for all others.
    pub role: Option<Box<str>>,
    /// Requests allowed in a period.
    pub requests: u32,
    /// The period.
    pub per: Duration,
    /// Requests that may come at once.
    pub burst: u32,
    /// The same as a `RateLimit-Policy` header.
    pub policy: HeaderValue,
    pace: Pace,
    counts: Counts,
}

impl Rate {
    /// Fresh counts.
    pub(crate) fn new(declared: &RateLimit) -> Self {
        let RateLimit { requests, per, burst, by, ref plans } = *declared;
        let plan = |plan: &RateLimitPlan| Quota::new(by, Some(plan.role.clone()), plan.requests, plan.per, plan.burst);
        Self { by, quota: Quota::new(by, None, requests, per, burst), plans: plans.iter().map(plan).collect() }
    }

    /// What holds for a caller with these roles.
    pub(crate) fn quota(&self, roles: &[String]) -> &Quota {
        let is_theirs = |plan: &&Quota| plan.role.as_deref().is_some_and(|role| roles.iter().any(|own| own == role));
        self.plans.iter().find(is_theirs).unwrap_or(&self.quota)
    }

    /// The kind of key, as headers name it.
    pub(crate) fn name(&self) -> &'static str {
        name(self.by)
    }
}

impl Quota {
    fn new(by: RateLimitBy, role: Option<Box<str>>, requests: u32, per: Duration, burst: u32) -> Self {
        let policy = format!("\"{}\";q={requests};w={}", name(by), per.as_secs().max(1));
        Self {
            role,
            requests,
            per,
            burst,
            policy: HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("\"default\"")),
            pace: Pace::new(per / requests.max(1), burst),
            counts: Counts::default(),
        }
    }

    /// Counts a call: how many more there is room for at once, or how long to wait until there is room for it.
    pub(crate) fn count(&self, counting: Counting, key: &RateLimitKey) -> Result<u32, Duration> {
        let now = u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX);
        match counting {
            Counting::Take => self.counts.take(self.pace, key, now),
            Counting::Look => self.counts.look(self.pace, key, now),
        }
    }

    /// The microseconds that one call uses up, and those of a whole burst, as a script reads them.
    pub(crate) fn microseconds(&self) -> [String; 2] {
        self.pace.nanoseconds().map(|nanos| format!("{}.{:03}", nanos / 1000, nanos % 1000))
    }
}

fn name(by: RateLimitBy) -> &'static str {
    match by {
        RateLimitBy::Principal => "principal",
        RateLimitBy::Tenant => "tenant",
        RateLimitBy::Address => "address",
        RateLimitBy::Method => "method",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(role: &str, requests: u32) -> RateLimitPlan {
        RateLimitPlan { role: role.into(), requests, per: Duration::from_hours(1), burst: requests }
    }

    fn rate() -> Rate {
        let (per, by) = (Duration::from_hours(1), RateLimitBy::Principal);
        let plans = vec![plan("gold", 3), plan("silver", 2)];
        Rate::new(&RateLimit { requests: 1, per, burst: 1, by, plans })
    }

    #[test]
    fn first_plan_whose_role_a_caller_has_holds() {
        let rate = rate();
        let requests =
            |roles: &[&str]| rate.quota(&roles.iter().map(|role| (*role).to_owned()).collect::<Vec<_>>()).requests;
        assert_eq!(requests(&["silver", "gold"]), 3);
        assert_eq!(requests(&["reader", "silver"]), 2);
        assert_eq!((requests(&["reader"]), requests(&[])), (1, 1));
    }

    #[test]
    fn plan_is_counted_apart_from_the_limit_without_it() {
        let (rate, ada) = (rate(), RateLimitKey::Principal("ada".into()));
        let take = |roles: &[String]| rate.quota(roles).count(Counting::Take, &ada);
        assert_eq!(take(&[]), Ok(0));
        assert!(take(&[]).is_err());
        assert_eq!(take(&["silver".to_owned()]), Ok(1));
    }
}
