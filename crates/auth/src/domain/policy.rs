//! Who may do what, decided by Cedar policies.
//!
//! A policy grants a role a permission:
//!
//! ```cedar
//! permit (
//!   principal in Accord::Role::"catalog-reader",
//!   action == Accord::Action::"catalog.products.read",
//!   resource
//! );
//! ```
//!
//! Actions are the permissions that contracts name; naming one in a policy declares it. Principals are `Accord::User` and
//! `Accord::Service` with the attribute `tenant`, members of their `Accord::Role`s. The resource is the upstream,
//! `Accord::Upstream::"catalog"`. The context has `method`, `pkg.Service/Method`, and `act`, the set of the workloads through
//! which the request came, by name; it is empty where the principal calls itself:
//!
//! ```cedar
//! forbid (principal is Accord::User, action == Accord::Action::"stock.reserve", resource)
//! unless { context.act.contains("orders") };
//! ```
//!
//! Invariant: any error while a policy is evaluated denies. Cedar itself would skip that policy, and a broken `forbid`
//! would then allow.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use accord_token::Kind;
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cedar_policy::{
    ActionConstraint, Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    ParseErrors, Policy, PolicyId, PolicySet, Request, RestrictedExpression, Schema, ValidationMode, Validator,
};
use miette::Diagnostic;

use self::slips::Located;
use crate::store::principals::Principal;

mod open_grants;
mod slips;

/// What the mesh's own workloads and admins may do.
const BUILT_IN: &str = include_str!("policy/built_in.cedar");

/// A policy set that can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    /// A file can't be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not Cedar.
    #[error("{place}: {reason}")]
    Malformed {
        /// The file, line and column.
        place: String,
        /// What the parser says.
        reason: String,
    },
    /// They do not fit the schema, or each other.
    #[error("the policies can't be used: {0}")]
    Invalid(String),
}

/// Policies in force: validated, and sorted by the action they are about.
pub(crate) struct Policies {
    /// Names this very set.
    pub hash: Arc<str>,
    count: usize,
    by_action: HashMap<String, PolicySet>,
    /// Those that are about every action.
    general: PolicySet,
    authorizer: Authorizer,
}

/// What is asked about a principal.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessQuestion<'a> {
    /// The permission that the method's contract asks for; empty where being authenticated is enough.
    pub permission: &'a str,
    /// The upstream that serves the method; empty for auth's own.
    pub upstream: &'a str,
    /// The called method, `pkg.Service/Method`; may be empty.
    pub method: &'a str,
    /// The workloads through which the request came; none where the principal calls itself.
    pub act: &'a [String],
}

/// A decision and what made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDecision {
    /// Whether it may.
    pub allowed: bool,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// Policies that failed.
    pub errors: Vec<String>,
}

impl Policies {
    /// Whether a policy names this role. Without one the role means nothing.
    pub(crate) fn names_role(&self, role: &str) -> bool {
        let named = format!("Accord::Role::{role:?}");
        let mut sets = self.by_action.values().chain([&self.general]);
        sets.any(|set| set.policies().any(|policy| policy.to_string().contains(&named)))
    }

    /// How many there are beside the built-in ones.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Reads and validates the built-in policies and these files.
    pub(crate) fn load(files: &[PathBuf]) -> Result<Self, PolicyError> {
        let mut sources = vec![PolicyFile::new("built-in".to_owned(), BUILT_IN.to_owned())?];
        for path in files {
            sources.push(PolicyFile::new(path.display().to_string(), read(path)?)?);
        }
        Self::of(&sources)
    }

    /// Of these texts, the built-in one first.
    fn of(sources: &[PolicyFile]) -> Result<Self, PolicyError> {
        let all: Vec<_> = sources.iter().flat_map(|source| &source.policies).collect();
        let actions: BTreeSet<_> = all.iter().flat_map(|policy| actions_of(policy).unwrap_or_default()).collect();
        let schema = schema(&actions);
        validate(&schema, sources)?;
        let whole: Vec<_> = sources.iter().map(|source| source.text.as_str()).chain([schema.as_str()]).collect();
        let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, whole.join("\0").as_bytes())).into();
        let slice = |action: Option<&String>| {
            let relevant = |policy: &&&Policy| {
                actions_of(policy).is_none_or(|actions| action.is_some_and(|action| actions.contains(action)))
            };
            set(all.iter().filter(relevant).copied())
        };
        let by_action =
            actions.iter().map(|action| Ok((action.clone(), slice(Some(action))?))).collect::<Result<_, _>>()?;
        let count = sources.iter().skip(1).map(|source| source.policies.len()).sum();
        Ok(Self { hash, count, by_action, general: slice(None)?, authorizer: Authorizer::new() })
    }

    /// Whether the principal may.
    pub(crate) fn decide(&self, principal: &Principal, question: &AccessQuestion<'_>) -> PolicyDecision {
        if question.permission.is_empty() {
            return PolicyDecision { allowed: true, policies: Vec::new(), errors: Vec::new() };
        }
        let (request, entities) = match request(principal, question) {
            Ok(request) => request,
            Err(error) => {
                return PolicyDecision { allowed: false, policies: Vec::new(), errors: vec![error.to_string()] };
            }
        };
        let policies = self.by_action.get(question.permission).unwrap_or(&self.general);
        let answer = self.authorizer.is_authorized(&request, policies, &entities);
        let errors: Vec<_> = answer.diagnostics().errors().map(ToString::to_string).collect();
        PolicyDecision {
            allowed: answer.decision() == Decision::Allow && errors.is_empty(),
            policies: answer.diagnostics().reason().map(ToString::to_string).collect(),
            errors,
        }
    }
}

/// The schema under which policies are validated: fixed but for the actions.
fn schema(actions: &BTreeSet<String>) -> String {
    let mut schema = String::from(
        "namespace Accord {\n  entity Role;\n  entity Upstream;\n  entity User in [Role] { tenant: String };\n  \
         entity Service in [Role] { tenant: String };\n",
    );
    for action in actions {
        schema.push_str("  action \"");
        schema.push_str(&EntityId::new(action).escaped());
        schema.push_str(
            "\" appliesTo { principal: [User, Service], resource: [Upstream], \
             context: { method: String, act: Set<String> } };\n",
        );
    }
    schema.push('}');
    schema
}

fn validate(schema: &str, sources: &[PolicyFile]) -> Result<(), PolicyError> {
    let (schema, _) = Schema::from_cedarschema_str(schema).map_err(|error| PolicyError::Invalid(error.to_string()))?;
    let all = set(sources.iter().flat_map(|source| &source.policies))?;
    let found = Validator::new(schema).validate(&all, ValidationMode::Strict);
    let files: HashMap<_, _> = (0..)
        .zip(sources)
        .flat_map(|(number, source)| source.policies.iter().map(move |policy| (policy.id(), (number, source))))
        .collect();
    let slips = slips::lines(found.validation_errors().map(|error| {
        let file = files.get(error.policy_id());
        let (number, place) = file.map_or_else(Default::default, |(number, source)| (*number, source.place_of(error)));
        Located { order: (number, offset_of(error).unwrap_or(0)), place, error }
    }));
    if slips.is_empty() { Ok(()) } else { Err(PolicyError::Invalid(slips.join("; "))) }
}

/// A text with policies.
struct PolicyFile {
    /// The file it comes from.
    name: String,
    text: String,
    policies: Vec<Policy>,
}

impl PolicyFile {
    fn new(name: String, text: String) -> Result<Self, PolicyError> {
        let mut source = Self { name, text, policies: Vec::new() };
        source.policies = source.parsed()?;
        Ok(source)
    }

    /// Each policy with a name: its `@id`, or its file and place.
    fn parsed(&self) -> Result<Vec<Policy>, PolicyError> {
        let malformed = |place, reason| PolicyError::Malformed { place, reason };
        let parsed: PolicySet =
            self.text.parse().map_err(|errors: ParseErrors| malformed(self.place_of(&errors), errors.to_string()))?;
        if parsed.templates().next().is_some() {
            return Err(malformed(self.name.clone(), "templates have nothing to fill them in here".to_owned()));
        }
        // By the parser's own numbering, so that the places follow the text.
        let ordered: BTreeMap<String, &Policy> =
            parsed.policies().map(|policy| (format!("{:0>24}", policy.id().to_string()), policy)).collect();
        let name = |(number, policy): (usize, &&Policy)| {
            let id = policy.annotation("id").map_or_else(|| format!("{}#{number}", self.name), ToOwned::to_owned);
            policy.new_id(PolicyId::new(id))
        };
        Ok((1..).zip(ordered.values()).map(name).collect())
    }

    /// Where that was found wrong, as `file:line:column`; the file alone where it does not say.
    fn place_of(&self, error: &dyn Diagnostic) -> String {
        let before = offset_of(error).and_then(|offset| self.text.get(..offset));
        let Some(before) = before else { return self.name.clone() };
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count());
        format!("{}:{}:{}", self.name, before.matches('\n').count() + 1, column + 1)
    }
}

/// How many bytes of its text stand before what was found wrong.
fn offset_of(error: &dyn Diagnostic) -> Option<usize> {
    error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset())
}

/// The actions that a policy is about; None for all.
fn actions_of(policy: &Policy) -> Option<Vec<String>> {
    let name = |action: &EntityUid| action.id().unescaped().to_owned();
    match policy.action_constraint() {
        ActionConstraint::Any => None,
        ActionConstraint::Eq(action) => Some(vec![name(&action)]),
        ActionConstraint::In(actions) => Some(actions.iter().map(name).collect()),
    }
}

fn set<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> Result<PolicySet, PolicyError> {
    PolicySet::from_policies(policies.into_iter().cloned())
        .map_err(|error| PolicyError::Invalid(format!("{error}; give each its own `@id`, and each file once")))
}

fn request(
    principal: &Principal,
    question: &AccessQuestion<'_>,
) -> Result<(Request, Entities), Box<dyn std::error::Error>> {
    let kind = if principal.kind == Kind::User { "User" } else { "Service" };
    let who = uid(kind, &principal.subject)?;
    let roles = principal.roles.iter().map(|role| uid("Role", role)).collect::<Result<HashSet<_>, _>>()?;
    let tenant = RestrictedExpression::new_string(principal.tenant.clone());
    let known: Vec<_> = roles.iter().map(|role| Entity::new_no_attrs(role.clone(), HashSet::new())).collect();
    let person = Entity::new(who.clone(), HashMap::from([("tenant".to_owned(), tenant)]), roles)?;
    let entities = Entities::from_entities(known.into_iter().chain([person]), None)?;
    let act = question.act.iter().map(|actor| RestrictedExpression::new_string(actor.clone()));
    let context = [
        ("method".to_owned(), RestrictedExpression::new_string(question.method.to_owned())),
        ("act".to_owned(), RestrictedExpression::new_set(act)),
    ];
    let upstream = if question.upstream.is_empty() { "accord" } else { question.upstream };
    let request = Request::new(
        who,
        uid("Action", question.permission)?,
        uid("Upstream", upstream)?,
        Context::from_pairs(context)?,
        // Not checked against the schema: a permission that no policy names is not an error, it is a denial.
        None,
    )?;
    Ok((request, entities))
}

fn uid(entity_type: &str, id: &str) -> Result<EntityUid, Box<ParseErrors>> {
    let name: EntityTypeName = format!("Accord::{entity_type}").parse().map_err(Box::new)?;
    Ok(EntityUid::from_type_name_and_id(name, EntityId::new(id)))
}

fn read(path: &Path) -> Result<String, PolicyError> {
    std::fs::read_to_string(path).map_err(|source| PolicyError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
