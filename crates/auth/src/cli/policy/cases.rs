//! The table of cases of `accord-auth policy test`: who may do what, and who may not, as those who wrote the policies expect.

use std::{collections::HashSet, fs, net::IpAddr, path::Path, time::UNIX_EPOCH};

use accord_contract::{Access, Method};
use accord_mesh::guard::principal_kind;
use accord_runtime::{
    cli::{Finding, Report},
    progress::{Progress, Unit},
};
use accord_token::{Kind, verify};
use serde::Deserialize;
use toml::Spanned;

use crate::{
    domain::{
        policy::{AccessQuestion, Policies, PolicyDecision},
        relations,
    },
    store::{principals::Principal, relations::Relation},
};

/// What a file looks like, for `--help`.
pub(super) const EXAMPLE: &str = "\
A file of cases:
  [[case]]
  name = \"a reader reads\"
  roles = [\"catalog-reader\"]
  permission = \"catalog.products.read\"
  upstream = \"catalog\"
  expect = \"allow\"

  [[case]]
  name = \"a person reserves nothing but through orders\"
  roles = [\"buyer\"]
  method = \"stock.v1.StockService/Reserve\"
  expect = \"deny\"

`subject`, `kind` (\"user\" or \"service\"), `tenant`, `roles` and `act` say who asks, `address`, `protocol`, `time` (RFC 3339) and
`token_age` (as 5m) how and when. `resource` (\"Product/42\") is the object that it is about, and `relations` say who stands in which
relation to what: `{ object = \"Product/42\", relation = \"owner\" }`, of the case's own principal or of another `subject`. Where `[[upstream]]` gives contracts, a
`method` brings its permission and upstream, and is held against its contract as well. `policies` names those that must decide.

Examples:
  accord-auth policy test cases.toml --policy policies.cedar";

/// Cases in one file; more are hardly written by hand.
const MAX_BYTES: u64 = 4 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    case: Vec<Spanned<Case>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default = "somebody")]
    subject: String,
    #[serde(default)]
    kind: CaseKind,
    #[serde(default)]
    tenant: String,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    act: Vec<String>,
    #[serde(default)]
    method: String,
    address: Option<IpAddr>,
    #[serde(default)]
    protocol: String,
    time: Option<String>,
    #[serde(default)]
    token_age: String,
    permission: Option<String>,
    upstream: Option<String>,
    #[serde(default)]
    resource: String,
    #[serde(default)]
    relations: Vec<CaseRelation>,
    expect: Expected,
    policies: Option<HashSet<String>>,
}

/// That a subject, by default the case's own, stands in a relation to an object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseRelation {
    object: String,
    relation: String,
    subject: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CaseKind {
    #[default]
    User,
    Service,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    Deny,
}

fn somebody() -> String {
    "somebody".to_owned()
}

/// One error for each case of the file that these policies decide otherwise.
pub(super) fn report(policies: &Policies, path: &Path) -> Report {
    let place = path.display();
    match read(path) {
        Ok((text, cases)) => {
            let progress = Progress::begin("policy test", Unit::Items("cases"));
            let progress = progress.of(u64::try_from(cases.case.len()).unwrap_or_default());
            let findings = cases.case.iter().filter_map(|case| {
                progress.advance(1);
                let line = text.get(..case.span().start).map_or(0, |before| before.matches('\n').count()) + 1;
                failure(policies, case.get_ref())
                    .map(|problem| Finding::error(format!("{place}:{line}: {}: {problem}", case.get_ref().name)))
            });
            let findings: Vec<_> = findings.collect();
            drop(progress);
            Report::of(findings, format!("good: {} of {place} are decided as expected", count(cases.case.len())))
        }
        Err(problem) => Report::refused([format!("{place}: {problem}")]),
    }
}

fn count(cases: usize) -> String {
    format!("{cases} {}", if cases == 1 { "case" } else { "cases" })
}

fn read(path: &Path) -> Result<(String, CaseFile), String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > MAX_BYTES {
        return Err(format!("has {length} bytes; split it into files of {MAX_BYTES} at most"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let cases: CaseFile = toml::from_str(&text).map_err(|error| error.to_string())?;
    if cases.case.is_empty() { Err("has no case; write one under [[case]]".to_owned()) } else { Ok((text, cases)) }
}

/// How the decision differs from what is expected; None where it doesn't.
fn failure(policies: &Policies, case: &Case) -> Option<String> {
    let decision = match decide(policies, case) {
        Ok(decision) => decision,
        Err(problem) => return Some(problem),
    };
    let decided = if decision.allowed { Expected::Allow } else { Expected::Deny };
    let by = match &decision.policies[..] {
        [] if decision.errors.is_empty() => "no policy says anything".to_owned(),
        [] => decision.errors.join("; "),
        some => format!("by {}", some.join(", ")),
    };
    if decided != case.expect {
        let [expected, decided] = [case.expect, decided].map(Expected::past);
        return Some(format!("expected to be {expected}, and is {decided}: {by}"));
    }
    let expected = case.policies.as_ref()?;
    let is_by_those = decision.policies.iter().collect::<HashSet<_>>() == expected.iter().collect();
    (!is_by_those).then(|| {
        let mut names: Vec<_> = expected.iter().map(String::as_str).collect();
        names.sort_unstable();
        format!("expected to be decided by {}, and is: {by}", names.join(", "))
    })
}

impl Expected {
    fn past(self) -> &'static str {
        match self {
            Self::Allow => "allowed",
            Self::Deny => "denied",
        }
    }
}

fn decide(policies: &Policies, case: &Case) -> Result<PolicyDecision, String> {
    let kind = match case.kind {
        CaseKind::User => Kind::User,
        CaseKind::Service => Kind::Service,
    };
    let method = policies.contract.method(&case.method);
    let question = match method {
        // As the gateway denies a request without its object.
        Some(method) if method.policy.resource.is_some() && case.resource.is_empty() => {
            return Ok(without_policy(false));
        }
        Some(method) => match declared(method, kind) {
            Declared::Decided(allowed) => return Ok(without_policy(allowed)),
            Declared::Asks(permission) => AccessQuestion {
                permission: case.permission.as_deref().unwrap_or(permission),
                upstream: case.upstream.as_deref().unwrap_or(&method.upstream),
                ..AccessQuestion::default()
            },
        },
        None => AccessQuestion {
            permission: case.permission.as_deref().ok_or_else(|| unknown(case))?,
            upstream: case.upstream.as_deref().unwrap_or_default(),
            ..AccessQuestion::default()
        },
    };
    let principal = Principal::new(case.subject.clone(), kind, case.tenant.clone(), case.roles.clone());
    let relations = held(policies, case, &principal)?;
    let question = AccessQuestion {
        resource: &case.resource,
        relations: &relations,
        method: &case.method,
        act: &case.act,
        address: case.address,
        protocol: &case.protocol,
        now: moment(case)?,
        token_age: age(case)?,
        ..question
    };
    Ok(policies.decide(&principal, &question))
}

/// What the case's principal stands in a relation to, by what the case says.
fn held(policies: &Policies, case: &Case, principal: &Principal) -> Result<Vec<String>, String> {
    if !case.resource.is_empty() {
        policies.objects.object(&case.resource).map_err(|error| error.to_string())?;
    }
    let own = relations::subject(principal);
    let said = case.relations.iter().map(|said| {
        let subject = said.subject.as_ref().unwrap_or(&own).clone();
        let relation = Relation { object: said.object.clone(), relation: said.relation.clone(), subject };
        policies.objects.check(&relation).map(|()| relation).map_err(|error| error.to_string())
    });
    Ok(relations::held_by(&own, &said.collect::<Result<Vec<_>, _>>()?))
}

/// When it is asked: now, where the case says nothing.
fn moment(case: &Case) -> Result<i64, String> {
    let Some(time) = &case.time else { return Ok(verify::now()) };
    let problem = || format!("`time` is `{time}`; write it as 2026-11-29T08:30:00Z");
    let moment = humantime::parse_rfc3339(time).map_err(|_| problem())?;
    let since = moment.duration_since(UNIX_EPOCH).map_err(|_| problem())?;
    i64::try_from(since.as_secs()).map_err(|_| problem())
}

/// How old the token is: new, where the case says nothing.
fn age(case: &Case) -> Result<i64, String> {
    if case.token_age.is_empty() {
        return Ok(0);
    }
    let problem = || format!("`token_age` is `{}`; write it as 5m", case.token_age);
    let age = humantime::parse_duration(&case.token_age).map_err(|_| problem())?;
    i64::try_from(age.as_secs()).map_err(|_| problem())
}

fn unknown(case: &Case) -> String {
    if case.method.is_empty() {
        return "says neither a permission nor a method; give it one of them".to_owned();
    }
    format!(
        "no contract has the method {}; correct it, give its contract as [[upstream]], or say its permission",
        case.method
    )
}

/// What a contract says before policies are asked.
enum Declared<'a> {
    /// They are not asked.
    Decided(bool),
    /// They are asked for this permission.
    Asks(&'a str),
}

fn declared(method: &Method, kind: Kind) -> Declared<'_> {
    match &method.policy.access {
        Access::Public => Declared::Decided(true),
        Access::Denied => Declared::Decided(false),
        _ if !method.policy.kinds.accepts(principal_kind(kind)) => Declared::Decided(false),
        Access::Authenticated => Declared::Decided(true),
        Access::Permission(permission) => Declared::Asks(permission),
    }
}

fn without_policy(allowed: bool) -> PolicyDecision {
    PolicyDecision { allowed, policies: Vec::new(), errors: Vec::new() }
}
