//! One method, with all that serving it needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use accord_contract::http::Binding;
use accord_contract::{CachePolicy, JsonPolicy, Method, MethodKind};
use accord_runtime::observe::MethodSeries;
use accord_transcode::{Limits, Output, Plan, PlanError, Schema};
use accord_upstream::{Retries, TimedMethod, Upstream, Version};
use accord_validation::{Compiler, Rules};
use accord_wire::Template;
use http::{HeaderValue, uri::PathAndQuery};

use super::plan::CachePlan;
use super::rates::Rate;

/// The plan of each HTTP binding of a method, or why it is not served.
type Plans = Vec<Result<Arc<Plan>, PlanError>>;

const RULES_REMEDY: &str = "correct them, or declare `validate: false` for the method";

/// How many entries were made.
static MADE: AtomicU64 = AtomicU64::new(0);

/// One method, with all that serving it needs.
pub(crate) struct MethodEntry {
    /// Its number: no other entry has it, of this contract or another.
    pub serial: u64,
    /// What the contract says of it.
    pub method: Arc<Method>,
    /// What its calls are counted under.
    pub series: Arc<MethodSeries>,
    /// Who serves it.
    pub upstream: Arc<Upstream>,
    /// Its gRPC path, `/pkg.Service/Method`.
    pub path: PathAndQuery,
    /// How JSON is read and written where it is called by its gRPC path.
    pub plan: Arc<Plan>,
    /// What its requests are held against.
    pub rules: Option<Rules>,
    /// The headers that its cached answers vary by.
    pub vary: Option<HeaderValue>,
    /// As what the upstream knows how long it takes; nothing of streams, whose time is their callers'.
    pub timed: Option<TimedMethod>,
    /// Its plan for each version of its upstream, its own endpoints first; none where it is not cached.
    cache_plans: Box<[CachePlan]>,
    /// Whether other gateways may answer for a while with what a call of it makes invalid, as their contracts declare.
    pub is_seen_later: bool,
    /// Its rate limits with their counts.
    pub rates: Arc<[Rate]>,
    /// How often a call may be tried, with what is left for repeating failed attempts.
    pub retries: Option<Retries>,
}

impl MethodEntry {
    /// An entry that goes on counting where `before`, the entry of the previous snapshot, left off, and the plans of
    /// its HTTP bindings, with why there is none for one. `bounded` are the tags of answers that gateways keep without leases. An error is one line for the operator.
    pub(crate) fn new(
        method: &Arc<Method>,
        upstream: &Arc<Upstream>,
        (schema, compiler): (&Arc<Schema>, &Compiler),
        before: Option<&Self>,
        bounded: &[Template],
    ) -> Result<(Self, Plans), String> {
        let unfit = |problem: String| format!("error: {}: {problem}", method.name);
        let plan = plan(method, schema, None);
        let rules = method.is_validated.then(|| compiler.rules(&method.descriptor.input())).transpose();
        let entry = Self {
            serial: MADE.fetch_add(1, Ordering::Relaxed),
            method: Arc::clone(method),
            series: series_of(method, before),
            upstream: Arc::clone(upstream),
            path: PathAndQuery::try_from(format!("/{}", method.name)).map_err(|error| unfit(error.to_string()))?,
            plan: Arc::new(plan.map_err(|error| unfit(error.to_string()))?),
            rules: rules.map_err(|error| unfit(format!("buf.validate: {error}; {RULES_REMEDY}")))?,
            vary: method.policy.cache.as_ref().and_then(vary),
            timed: (method.kind == MethodKind::Unary).then(|| TimedMethod::new(&method.name)),
            cache_plans: cache_plans(method, upstream),
            is_seen_later: method.policy.invalidates.iter().any(|tag| bounded.iter().any(|it| it.may_meet(tag))),
            rates: rates_of(method, before),
            retries: retries_of(method, before),
        };
        Ok((entry, method.http.iter().map(|binding| bound(method, schema, binding)).collect()))
    }

    /// Who serves it in a version; in none, the upstream's own endpoints.
    pub(crate) fn upstream_of(&self, version: Option<usize>) -> &Arc<Upstream> {
        let version = version.and_then(|place| self.upstream.versions().get(place));
        version.map_or(&self.upstream, Version::upstream)
    }

    /// Its plan in a version, where it is cached.
    pub(crate) fn cache_plan(&self, version: Option<usize>) -> Option<&CachePlan> {
        self.cache_plans.get(version.map_or(0, |place| place + 1))
    }

    /// The full name of its service.
    pub(crate) fn service(&self) -> &str {
        self.method.name.split_once('/').map_or("", |(service, _)| service)
    }
}

fn cache_plans(method: &Method, upstream: &Upstream) -> Box<[CachePlan]> {
    let versions = upstream.versions().iter().map(|version| &**version.name());
    [""].into_iter().chain(versions).filter_map(|version| CachePlan::of(method, version)).collect()
}

/// How a method is transcoded, as its contract says.
/// What its answers vary by, where that is declared (RFC 9110, 12.5.5).
fn vary(cache: &CachePolicy) -> Option<HeaderValue> {
    (!cache.vary.is_empty()).then(|| HeaderValue::try_from(cache.vary.join(", ")).ok()).flatten()
}

fn plan(method: &Method, schema: &Arc<Schema>, binding: Option<&Binding>) -> Result<Plan, PlanError> {
    let JsonPolicy { defaults, proto_names, enum_numbers, ref ignored_parameters, .. } = method.policy.json;
    let plan = Plan::compile(schema, &method.descriptor, binding, Limits::default())?;
    Ok(plan.written(Output { defaults, proto_names, enum_numbers }).ignoring(Arc::clone(ignored_parameters)))
}

fn bound(method: &Method, schema: &Arc<Schema>, binding: &Binding) -> Result<Arc<Plan>, PlanError> {
    plan(method, schema, Some(binding)).map(Arc::new)
}

fn series_of(method: &Method, before: Option<&MethodEntry>) -> Arc<MethodSeries> {
    let new = || MethodSeries::new(Arc::clone(&method.name));
    before.filter(|before| before.method.name == method.name).map_or_else(new, |before| Arc::clone(&before.series))
}

fn retries_of(method: &Method, before: Option<&MethodEntry>) -> Option<Retries> {
    let declared = method.policy.retry.as_ref()?;
    let budget = before.and_then(|before| before.retries.as_ref()).map(|before| Arc::clone(&before.budget));
    Some(Retries {
        max_attempts: declared.max_attempts,
        on: declared.on.clone().into(),
        hedge_after: declared.hedge_after,
        attempt_timeout: declared.attempt_timeout,
        budget: budget.unwrap_or_default(),
    })
}

fn rates_of(method: &Method, before: Option<&MethodEntry>) -> Arc<[Rate]> {
    let declared = &method.policy.rate_limits;
    let same = before.filter(|before| before.method.policy.rate_limits == *declared);
    same.map_or_else(|| declared.iter().map(Rate::new).collect(), |before| Arc::clone(&before.rates))
}
