//! Live explain: what was decided about one call, told to its caller in the head of the answer.
//!
//! A caller asks by `x-accord-explain`, and is told in `x-accord-explained` where it holds the permission by which the contract is
//! explained as well. It is told of its own call alone: no token, passport, key or tag, and nothing of other callers. Where it lacks
//! the permission, its call is answered as if it had not asked; a dry run is refused, since to make the call is what it did not want.

mod header;

use self::header::Facts;
use crate::{
    admit::{Arrival, ExplainMode},
    authenticate::{Identity, refusal},
    authorize::{Permit, kind_name},
    fault::{Component, Fault},
    protocol::RouteMatch,
    table::{Quota, Rate},
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::Access;
use accord_mesh::{MeshClient, Question};
use accord_runtime::{call_record::CallRecord, deadline::Deadline};
use accord_token::Refusal;
use http::{HeaderMap, HeaderName, header::AGE};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What it is told in.
const TOLD: HeaderName = HeaderName::from_static("x-accord-explained");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// How long auth may take to say whether the caller may know.
const ANSWER: Duration = Duration::from_millis(500);

/// Whoever may have the contract explained may have a call of its own explained.
const PERMISSION: &str = "accord.gateway.explain";

/// Calls that are explained to their callers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExplainConfig {
    /// Whether callers with the permission `accord.gateway.explain` are told what was decided about their calls, and may make dry
    /// runs (`x-accord-explain`). Default: true.
    pub enabled: bool,
}

impl Default for ExplainConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// What is told of a call; nothing where nobody asked who may know.
pub(crate) struct Explanation {
    /// Where steps are noted, whoever wants to know them.
    record: CallRecord,
    told: Option<Box<Told>>,
}

struct Told {
    is_dry_run: bool,
    begun: Instant,
    timeout: Duration,
    limits: Vec<Value>,
    facts: Facts,
}

impl Explanation {
    /// Of a call that nobody has asked about so far.
    pub(crate) fn none(record: &CallRecord) -> Self {
        Self { record: record.clone(), told: None }
    }

    /// Begins to note what is decided, where the caller asks for it and may know.
    pub(crate) async fn begin(
        &mut self,
        (mesh, is_enabled): (&MeshClient, bool),
        route: &RouteMatch,
        identity: Option<&Identity<'_>>,
        arrival: &Arrival,
        deadline: Deadline,
    ) -> Result<(), Fault> {
        if arrival.explain.is_some() {
            self.record.begin_journal();
        }
        self.record.step("authenticate");
        let Some(mode) = arrival.explain else { return Ok(()) };
        // Apart, since it is seldom: every call would carry the room that it takes.
        match (Box::pin(may_know(mesh, is_enabled, route, identity, arrival, deadline)).await, mode) {
            (Ok(()), mode) => {
                self.record.step("explain");
                self.told = Some(Box::new(Told::new(mode, route, identity, arrival, deadline)));
                Ok(())
            }
            (Err(_), ExplainMode::Call) => Ok(()),
            (Err(refused), ExplainMode::DryRun) => Err(refused),
        }
    }

    /// Whether the call is only tried: then nothing may be counted, claimed, read or called for it.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.told.as_ref().is_some_and(|told| told.is_dry_run)
    }

    /// Notes what access is decided about.
    pub(crate) fn resource(&mut self, resource: Option<&str>) {
        let Some(resource) = resource else { return };
        self.record.step("resource");
        if let Some(told) = &mut self.told {
            told.facts.put("resource", resource.into());
        }
    }

    /// Notes that the call may go on, and by which policies.
    pub(crate) fn permitted(&mut self, permit: &Permit) {
        self.record.step("authorize");
        let Some(told) = &mut self.told else { return };
        told.facts.put("access", access(&permit.entry().method.policy.access, Some(permit.policies())));
    }

    /// Notes what a limit said of the call.
    pub(crate) fn limit(&mut self, rate: &Rate, quota: &Quota, outcome: Result<u32, Duration>, is_local: bool) {
        self.record.step("rate_limit");
        let Some(told) = &mut self.told else { return };
        let Quota { requests, per, burst, role, .. } = quota;
        let mut limit = json!({"by": rate.name(), "requests": requests, "per_ms": milliseconds(*per), "burst": burst});
        match outcome {
            Ok(left) => limit["left"] = left.into(),
            Err(wait) => limit["retry_after_ms"] = milliseconds(wait).into(),
        }
        if let Some(role) = role {
            limit["role"] = (&**role).into();
        }
        if is_local {
            limit["counted_by"] = "this gateway alone".into();
        }
        told.limits.push(limit);
    }

    /// Notes what would have answered the call: the fault that ends a dry run.
    pub(crate) fn end_dry_run(&mut self, next: &'static str) -> Fault {
        if let Some(told) = &mut self.told {
            told.facts.put("next", next.into());
        }
        let message = format!(
            "a dry run was asked for (`x-accord-explain`): nothing refused the call on its way to `{next}`, and nothing was \
             claimed, read or called; `x-accord-explained` has what was decided"
        );
        Fault::new(Component::Gateway, Reason::DryRun, message)
    }

    /// Tells it in the head of the answer, whatever the answer is.
    pub(crate) fn add_header(self, headers: &mut HeaderMap) {
        self.record.step("respond");
        let Some(mut told) = self.told else { return };
        told.ended(&self.record, headers);
        if let Some(header) = told.facts.header() {
            headers.insert(TOLD, header);
        }
    }
}

/// Whether the caller may know. Where a service calls for somebody, it is the service that is told.
async fn may_know(
    mesh: &MeshClient,
    is_enabled: bool,
    route: &RouteMatch,
    identity: Option<&Identity<'_>>,
    arrival: &Arrival,
    deadline: Deadline,
) -> Result<(), Fault> {
    if !is_enabled {
        return Err(not_permitted("dry runs are switched off here (`explain.enabled`)"));
    }
    let Some(identity) = identity else { return Err(lacks_permission()) };
    let (caller, token) = match &identity.actor {
        Some((actor, token)) => (actor, *token),
        None => (&identity.verified, identity.token),
    };
    // By the name of the called method, so that a policy can open the permission for some methods alone.
    let method = &route.entry.method.name;
    let question = Question {
        method,
        permission: PERMISSION,
        audience: "",
        resource: "",
        address: Some(arrival.address),
        protocol: arrival.protocol,
        actor: None,
    };
    // Who asks to be told more must not wait much longer for it.
    let deadline = deadline.min(Deadline::after(ANSWER));
    match mesh.decide(token, caller, &question, deadline, &arrival.id).await {
        Ok(_) => Ok(()),
        Err(Refusal::PermissionMissing) => Err(lacks_permission()),
        Err(refused) => Err(refusal(refused)),
    }
}

fn lacks_permission() -> Fault {
    not_permitted("a dry run needs the permission `accord.gateway.explain`, which the caller does not have")
}

fn not_permitted(why: &str) -> Fault {
    let message = format!("{why}; nothing was called: leave `x-accord-explain` out to make the call");
    Fault::new(Component::Gateway, Reason::PermissionMissing, message)
}

impl Told {
    fn new(
        mode: ExplainMode,
        route: &RouteMatch,
        identity: Option<&Identity<'_>>,
        arrival: &Arrival,
        deadline: Deadline,
    ) -> Self {
        let (record, method) = (&arrival.record, &route.entry.method);
        let timeout = record.timeout().unwrap_or_default();
        let now = Instant::now();
        let begun = now.checked_sub(timeout.saturating_sub(deadline.remaining())).unwrap_or(now);
        let is_dry_run = mode == ExplainMode::DryRun;
        let mut facts = Facts::default();
        facts.put("mode", if is_dry_run { "dry-run" } else { "call" }.into());
        facts.put("method", (&*method.name).into());
        facts.put("binding", route.binding().into());
        facts.put("protocol", record.protocol().into());
        facts.put("listener", arrival.listener.name().into());
        facts.put("principal", principal(identity));
        facts.put("access", access(&method.policy.access, None));
        facts.put("deadline", json!({"timeout_ms": milliseconds(timeout), "from": timeout_source(route, arrival)}));
        facts.put("criticality", method.policy.criticality.as_str_name().trim_start_matches("CRITICALITY_").into());
        facts.put("upstream", (&*method.upstream).into());
        let tokens = arrival.options.cache_control.tokens.count();
        facts.put("consistency_tokens", (tokens > 0).then_some(tokens).into());
        Self { is_dry_run, begun, timeout, limits: Vec::new(), facts }
    }

    /// Notes what is known once the head of the answer is there.
    fn ended(&mut self, record: &CallRecord, headers: &HeaderMap) {
        let journal = record.journal().unwrap_or_default();
        let limits = std::mem::take(&mut self.limits);
        self.facts.put("limits", if limits.is_empty() { Value::Null } else { limits.into() });
        self.facts.put("version", record.version().map(|version| &**version).into());
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        // What a handler says of caches of its own is not told as ours.
        let cache = record.cache_outcome().map(|outcome| {
            let age = text(&AGE).and_then(|age| age.parse::<u64>().ok());
            json!({"outcome": outcome, "near": outcome == "near", "age_s": age, "status": text(&CACHE_STATUS)})
        });
        self.facts.put("cache", cache.into());
        let made = record.attempts();
        let attempts =
            (made > 0).then(|| json!({"made": made, "hedges": journal.hedges, "endpoints": journal.endpoints}));
        self.facts.put("attempts", attempts.into());
        self.facts.put("upstream_ms", record.upstream_time().map(milliseconds).into());
        self.facts.put("reason", record.reason().into());
        let mut before = self.begun;
        let steps = journal.steps.iter().map(|step| {
            let took = step.at.saturating_duration_since(before);
            let left = self.timeout.saturating_sub(step.at.saturating_duration_since(self.begun));
            before = step.at;
            json!([step.name, milliseconds(took), milliseconds(left)])
        });
        let steps: Value = steps.collect();
        self.facts.put("steps", steps);
    }
}

/// Whose call it is. A service that calls for somebody is told of itself, and of the other the kind alone.
fn principal(identity: Option<&Identity<'_>>) -> Value {
    let kind = kind_name(identity);
    match identity {
        None => json!({ "kind": kind }),
        Some(Identity { actor: Some((actor, _)), .. }) => json!({"kind": kind, "actor": actor.claims.sub}),
        Some(identity) => json!({"kind": kind, "subject": identity.verified.claims.sub}),
    }
}

/// What the contract asks for, and by which policies it was given.
fn access(access: &Access, policies: Option<&[String]>) -> Value {
    let needs = match access {
        Access::Denied => "a declared `access`",
        Access::Public => "nothing",
        Access::Authenticated => "a principal",
        Access::Permission(permission) => permission,
    };
    match policies {
        Some(policies) => json!({"needs": needs, "decision": "allowed", "policies": policies}),
        None => json!({ "needs": needs }),
    }
}

/// Who says how long the call may take.
fn timeout_source(route: &RouteMatch, arrival: &Arrival) -> &'static str {
    match arrival.options.timeout {
        Ok(Some(asked)) if asked <= route.entry.method.policy.deadline.max => "caller",
        Ok(Some(_)) => "deadline.max",
        Ok(None) | Err(_) => "deadline.default",
    }
}

/// With three decimals.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
