//! Rate limits, with the plans of roles.

use std::{collections::BTreeSet, time::Duration};

use accord_api::accord::policy::v1 as declared;

use super::bounds::{Bounds, LONGEST};
use super::text;
use crate::limits::MAX_RATE_LIMIT_PLANS;
use crate::policy::{RateLimit, RateLimitBy, RateLimitPlan};

/// Figures as they are declared, and the option that they stand in.
struct Figures {
    option: &'static str,
    requests: u32,
    per: Option<prost_types::Duration>,
    burst: u32,
}

pub(super) fn compile(declared: &declared::RateLimit, bounds: &mut Bounds<'_>) -> RateLimit {
    let option = "rate_limit";
    let figures = Figures { option, requests: declared.requests, per: declared.per, burst: declared.burst() };
    let (requests, per, burst) = figures.compile(bounds);
    let by = match declared.by() {
        declared::RateLimitBy::Tenant => RateLimitBy::Tenant,
        declared::RateLimitBy::Address => RateLimitBy::Address,
        declared::RateLimitBy::Method => RateLimitBy::Method,
        declared::RateLimitBy::Principal | declared::RateLimitBy::Unspecified => RateLimitBy::Principal,
    };
    fit(&declared.plans, by, bounds);
    RateLimit { requests, per, burst, by, plans: declared.plans.iter().map(|it| plan(it, bounds)).collect() }
}

/// Whether these plans can be told apart, and by whom the limit counts.
fn fit(plans: &[declared::RateLimitPlan], by: RateLimitBy, bounds: &mut Bounds<'_>) {
    let option = "rate_limit.plans";
    if !plans.is_empty() && matches!(by, RateLimitBy::Address | RateLimitBy::Method) {
        let problem = "the limit counts addresses, or all callers together, and neither has a role";
        bounds.refuse(option, problem, "count by RATE_LIMIT_BY_PRINCIPAL or RATE_LIMIT_BY_TENANT, or remove the plans");
    }
    if plans.len() > MAX_RATE_LIMIT_PLANS {
        let problem = format!("{} plans are more than {MAX_RATE_LIMIT_PLANS}", plans.len());
        bounds.refuse(option, problem, "each call is compared with all: join roles that have the same figures");
    }
    let mut roles = BTreeSet::new();
    for plan in plans {
        if !roles.insert(&plan.role) {
            let problem = format!("two plans are for the role `{}`, and only the first could hold", plan.role);
            bounds.refuse("rate_limit.plans.role", problem, "keep one");
        }
        if plan.role.trim().is_empty() {
            bounds.refuse("rate_limit.plans.role", "is missing", "name a role that auth grants, such as `gold`");
        }
    }
}

fn plan(declared: &declared::RateLimitPlan, bounds: &mut Bounds<'_>) -> RateLimitPlan {
    let option = "rate_limit.plans";
    let figures = Figures { option, requests: declared.requests, per: declared.per, burst: declared.burst() };
    let (requests, per, burst) = figures.compile(bounds);
    RateLimitPlan { role: declared.role.as_str().into(), requests, per, burst }
}

impl Figures {
    fn compile(self, bounds: &mut Bounds<'_>) -> (u32, Duration, u32) {
        let Self { option, requests, per, burst } = self;
        let per = bounds.positive(&format!("{option}.per"), per);
        bounds.limit(&format!("{option}.requests"), requests);
        // Where `requests` is refused already, its default for `burst` is not refused again.
        if requests != 0 {
            bounds.limit(&format!("{option}.burst"), burst);
        }
        countable(option, (requests, per, burst), bounds);
        (requests, per, burst)
    }
}

/// A limit is kept by counting out nanoseconds: one for each request at least, and not more than a clock has.
fn countable(option: &str, (requests, per, burst): (u32, Duration, u32), bounds: &mut Bounds<'_>) {
    let Some(each) = per.checked_div(requests).filter(|_| !per.is_zero()) else { return };
    if each.is_zero() {
        let problem = format!("{requests} in {} are more than one in a nanosecond", text(per));
        bounds.refuse(&format!("{option}.requests"), problem, "allow fewer requests, or lengthen `per`");
    }
    if each.checked_mul(burst).is_none_or(|whole| whole > LONGEST) {
        let problem = format!("{burst} at once take more than 100 years to be allowed again");
        bounds.refuse(&format!("{option}.burst"), problem, "lower `burst`, or shorten `per`");
    }
}
