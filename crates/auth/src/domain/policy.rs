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
//! which the request came, by name; it is empty where the principal calls itself. It has `protocol` as well, `address` where that
//! is known, `time`, and `token_age` in seconds:
//!
//! ```cedar
//! forbid (principal is Accord::User, action == Accord::Action::"stock.reserve", resource)
//! unless { context.act.contains("orders") };
//! ```
//!
//! Where the configuration declares types of objects, the resource can be one, and policies ask who stands in which relation to it:
//!
//! ```cedar
//! permit (principal, action == Accord::Action::"catalog.products.write", resource is Accord::Product)
//! when { principal in resource.owner };
//! permit (principal in Accord::Group::"sales", action == Accord::Action::"catalog.products.read", resource);
//! ```
//!
//! Invariant: any error while a policy is evaluated denies. Cedar itself would skip that policy, and a broken `forbid`
//! would then allow.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    iter,
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use accord_contract::Contract;
use accord_token::{Kind, PolicyReads, Verified, verify};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, ParseErrors, Policy, Request,
    RestrictedExpression, Schema, ValidationMode, Validator,
};

pub(crate) use self::{
    listing::ListedPolicy,
    objects::{ObjectError, ObjectTypes},
};
use self::{
    objects::group_of,
    slices::{Slices, actions_of, set},
    slips::Located,
    source::{PolicyFile, offset_of},
};
use crate::{
    config::{ContractConfig, PolicyConfig},
    store::principals::Principal,
};

mod listing;
mod objects;
mod open_grants;
mod permissions;
mod slices;
mod slips;
mod source;

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
    /// A contract that policies are about can't be read, or is refused.
    #[error("the contract that policies are about can't be used: {problem}")]
    Contract {
        /// The key of the configuration that names it.
        key: String,
        /// What is wrong, and the remedy.
        problem: String,
    },
}

/// Policies in force: validated, and sorted by the action they are about.
pub(crate) struct Policies {
    /// Names this very set.
    pub hash: Arc<str>,
    /// The methods of the services that policies are about; empty where no contract is configured.
    pub contract: Contract,
    /// The types of objects that resources can be of.
    pub objects: ObjectTypes,
    count: usize,
    listed: Vec<ListedPolicy>,
    enforced: Slices,
    /// What the policies look at of a call, those that are only tried included.
    pub reads: PolicyReads,
    /// The same with the policies that are tried and not enforced; None where there are none.
    shadow: Option<Slices>,
    authorizer: Authorizer,
}

/// What is asked about a principal.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessQuestion<'a> {
    /// The permission that the method's contract asks for; empty where being authenticated is enough.
    pub permission: &'a str,
    /// The upstream that serves the method; empty for auth's own.
    pub upstream: &'a str,
    /// The object that it is about, `Product/42`; empty where it is about the upstream.
    pub resource: &'a str,
    /// What the principal stands in a relation to, as far as policies look at it.
    pub relations: &'a [String],
    /// The called method, `pkg.Service/Method`; may be empty.
    pub method: &'a str,
    /// The workloads through which the request came; none where the principal calls itself.
    pub act: &'a [String],
    /// Where the request comes from; None where it is not known.
    pub address: Option<IpAddr>,
    /// How the principal calls, such as `grpc` or `json`; may be empty.
    pub protocol: &'a str,
    /// When, in seconds since 1970.
    pub now: i64,
    /// For how many seconds the principal's token was good by then.
    pub token_age: i64,
}

impl AccessQuestion<'_> {
    /// What it is about, as relations name it.
    pub(super) fn object(&self) -> String {
        if self.resource.is_empty() { format!("Upstream/{}", self.upstream()) } else { self.resource.to_owned() }
    }

    fn upstream(&self) -> &str {
        if self.upstream.is_empty() { "accord" } else { self.upstream }
    }

    /// The same, asked now about the holder of this token.
    pub(super) fn of(self, subject: &Verified) -> Self {
        let now = verify::now();
        Self { now, token_age: now - subject.claims.iat, ..self }
    }
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
    /// How many there are beside the built-in ones, those that are only tried included.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Reads and validates the built-in policies and those of these files, against these contracts.
    pub(crate) fn load(config: &PolicyConfig, upstreams: &[ContractConfig]) -> Result<Self, PolicyError> {
        let built_in = PolicyFile::new("built-in".to_owned(), BUILT_IN.to_owned())?;
        let read = |files: &[PathBuf]| files.iter().map(|path| PolicyFile::read(path)).collect::<Result<Vec<_>, _>>();
        let enforced: Vec<_> = iter::once(built_in).chain(read(&config.files)?).collect();
        let contract = permissions::contract(upstreams, &config.overlays)?;
        let tried = read(&config.shadow_files)?;
        let objects = ObjectTypes::of(&config.object);
        permissions::check_objects(&contract, &objects)?;
        let others: Vec<_> = config.permissions.iter().chain(objects.permissions()).cloned().collect();
        let known = permissions::known(&contract, &others);
        permissions::check(&enforced, &tried, known)?;
        Self::of(&enforced, &tried, contract, objects)
    }

    /// Of these texts, the built-in one first.
    fn of(
        enforced: &[PolicyFile],
        tried: &[PolicyFile],
        contract: Contract,
        objects: ObjectTypes,
    ) -> Result<Self, PolicyError> {
        let both: Vec<_> = enforced.iter().chain(tried).collect();
        let actions: BTreeSet<_> = policies(&both).flat_map(|policy| actions_of(policy).unwrap_or_default()).collect();
        let schema = schema(&actions, &objects);
        validate(&schema, &both)?;
        let declared = objects.text();
        let texts: Vec<_> = enforced.iter().map(|source| &*source.text).chain([&*schema, &*declared]).collect();
        Ok(Self {
            hash: URL_SAFE_NO_PAD.encode(digest(&SHA256, texts.join("\0").as_bytes())).into(),
            contract,
            objects,
            reads: reads(&both),
            count: policies(&both[1..]).count(),
            listed: listing::listed(enforced, tried),
            enforced: Slices::new(enforced.iter().flat_map(|source| &source.policies), &actions)?,
            shadow: if tried.is_empty() { None } else { Some(Slices::new(policies(&both), &actions)?) },
            authorizer: Authorizer::new(),
        })
    }

    /// Whether policies about this permission look at relations, those that are only tried included.
    pub(crate) fn read_relations(&self, permission: &str) -> bool {
        let slices = [Some(&self.enforced), self.shadow.as_ref()];
        !self.objects.is_empty() && slices.into_iter().flatten().any(|slices| slices.read_relations(permission))
    }

    /// Whether the principal may.
    pub(crate) fn decide(&self, principal: &Principal, question: &AccessQuestion<'_>) -> PolicyDecision {
        self.decide_by(&self.enforced, principal, question)
    }

    /// The decision that would be made if the policies that are only tried were enforced as well; None where there are none.
    pub(crate) fn decide_in_shadow(
        &self,
        principal: &Principal,
        question: &AccessQuestion<'_>,
    ) -> Option<PolicyDecision> {
        self.shadow.as_ref().map(|shadow| self.decide_by(shadow, principal, question))
    }

    fn decide_by(&self, slices: &Slices, principal: &Principal, question: &AccessQuestion<'_>) -> PolicyDecision {
        if question.permission.is_empty() {
            return PolicyDecision { allowed: true, policies: Vec::new(), errors: Vec::new() };
        }
        let (request, entities) = match self.request(principal, question) {
            Ok(request) => request,
            Err(error) => {
                return PolicyDecision { allowed: false, policies: Vec::new(), errors: vec![error.to_string()] };
            }
        };
        let answer = self.authorizer.is_authorized(&request, slices.about(question.permission), &entities);
        let errors: Vec<_> = answer.diagnostics().errors().map(ToString::to_string).collect();
        PolicyDecision {
            allowed: answer.decision() == Decision::Allow && errors.is_empty(),
            policies: answer.diagnostics().reason().map(ToString::to_string).collect(),
            errors,
        }
    }
}

fn policies<'a>(sources: &[&'a PolicyFile]) -> impl Iterator<Item = &'a Policy> {
    sources.iter().flat_map(|source| &source.policies)
}

/// The schema under which policies are validated: fixed but for the actions and the types of objects.
fn schema(actions: &BTreeSet<String>, objects: &ObjectTypes) -> String {
    let (containers, resources) = (objects.containers(), objects.resources());
    let mut schema = format!(
        "namespace Accord {{\n  entity Role;\n  entity Relation;\n{}  \
         entity User, Service in [Role, Relation{containers}] {{ tenant: String }};\n",
        objects.schema()
    );
    for action in actions {
        schema.push_str("  action \"");
        schema.push_str(&EntityId::new(action).escaped());
        schema.push_str("\" appliesTo { principal: [User, Service], resource: [");
        schema.push_str(&resources);
        schema.push_str(
            "], context: { method: String, act: Set<String>, protocol: String, address?: ipaddr, time: datetime, \
             token_age: Long } };\n",
        );
    }
    schema.push('}');
    schema
}

fn validate(schema: &str, sources: &[&PolicyFile]) -> Result<(), PolicyError> {
    let (schema, _) = Schema::from_cedarschema_str(schema).map_err(|error| PolicyError::Invalid(error.to_string()))?;
    let all = set(policies(sources))?;
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

/// What these policies look at. A word that stands in one for something else costs memory of decisions, and nothing else.
fn reads(sources: &[&PolicyFile]) -> PolicyReads {
    let mention = |words: &[&str]| {
        policies(sources).any(|policy| {
            let text = policy.to_string();
            let is_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '.' | '-');
            // The dot before an attribute is no part of a name.
            text.split(|letter| !is_name(letter)).any(|name| words.contains(&name.rsplit('.').next().unwrap_or(name)))
        })
    };
    PolicyReads {
        address: mention(&["address"]),
        protocol: mention(&["protocol"]),
        time: mention(&["time", "token_age"]),
    }
}

impl Policies {
    fn request(
        &self,
        principal: &Principal,
        question: &AccessQuestion<'_>,
    ) -> Result<(Request, Entities), Box<dyn std::error::Error>> {
        let who = person(principal, question)?;
        let resource = self.resource(question)?;
        let request = Request::new(
            who.uid(),
            uid("Action", question.permission)?,
            resource.uid(),
            context(question, self.reads)?,
            // Not checked against the schema: a permission that no policy names is not an error, it is a denial.
            None,
        )?;
        // What they are in, and the resource's attributes name, has no attributes of its own, and need not be among them.
        Ok((request, Entities::from_entities([who, resource], None)?))
    }

    /// The object or the upstream, with its relations.
    fn resource(&self, question: &AccessQuestion<'_>) -> Result<Entity, Box<dyn std::error::Error>> {
        let object = question.object();
        let (object_type, id) = object.split_once('/').unwrap_or_default();
        let relations = self.objects.relations_of(&object).map(|(relation, name)| {
            Ok((relation.to_owned(), RestrictedExpression::new_entity_uid(uid("Relation", &name)?)))
        });
        let relations = relations.collect::<Result<HashMap<_, _>, Box<ParseErrors>>>()?;
        Ok(Entity::new(uid(object_type, id)?, relations, HashSet::new())?)
    }
}

/// The principal with all that it is in.
fn person(principal: &Principal, question: &AccessQuestion<'_>) -> Result<Entity, Box<dyn std::error::Error>> {
    let kind = if principal.kind == Kind::User { "User" } else { "Service" };
    let roles = principal.roles.iter().map(|role| uid("Role", role));
    let relations = question.relations.iter().map(|held| uid("Relation", held));
    let groups = question.relations.iter().filter_map(|held| group_of(held)).map(|(name, id)| uid(name, id));
    let parents = roles.chain(relations).chain(groups).collect::<Result<HashSet<_>, _>>()?;
    let tenant = RestrictedExpression::new_string(principal.tenant.clone());
    Ok(Entity::new(uid(kind, &principal.subject)?, HashMap::from([("tenant".to_owned(), tenant)]), parents)?)
}

fn context(question: &AccessQuestion<'_>, reads: PolicyReads) -> Result<Context, Box<dyn std::error::Error>> {
    let act = question.act.iter().map(|actor| RestrictedExpression::new_string(actor.clone()));
    let mut context = vec![
        ("method".to_owned(), RestrictedExpression::new_string(question.method.to_owned())),
        ("act".to_owned(), RestrictedExpression::new_set(act)),
    ];
    // Made only where somebody looks at it.
    if reads.protocol {
        context.push(("protocol".to_owned(), RestrictedExpression::new_string(question.protocol.to_owned())));
    }
    if let Some(address) = question.address.filter(|_| reads.address) {
        context.push(("address".to_owned(), RestrictedExpression::new_ip(address.to_canonical().to_string())));
    }
    if reads.time {
        let now = UNIX_EPOCH + Duration::from_secs(u64::try_from(question.now).unwrap_or(0));
        let now = humantime::format_rfc3339_seconds(now).to_string();
        context.push(("time".to_owned(), RestrictedExpression::new_datetime(now)));
        context.push(("token_age".to_owned(), RestrictedExpression::new_long(question.token_age)));
    }
    Ok(Context::from_pairs(context)?)
}

fn uid(entity_type: &str, id: &str) -> Result<EntityUid, Box<ParseErrors>> {
    let name: EntityTypeName = format!("Accord::{entity_type}").parse().map_err(Box::new)?;
    Ok(EntityUid::from_type_name_and_id(name, EntityId::new(id)))
}

#[cfg(test)]
mod tests;
