//! What the gateway knows of every method: one immutable snapshot of the contract, replaced whole when it changes.
//!
//! A request takes the snapshot once and keeps it to its end, so it never sees two contracts.

mod entry;
mod follow;
mod live;
mod plan;
mod rates;
mod reconfigure;
mod sources;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use accord_contract::{
    Access, Contract, Method, Near, Source,
    http::{Binding, Body},
};
use accord_transcode::{NoMatch, Plan, PlanError, Routes, Schema};
use accord_upstream::Upstream;
use accord_validation::Compiler;
use accord_wire::Template;

pub(crate) use entry::MethodEntry;
pub(crate) use live::Tables;
pub(crate) use plan::CachePlan;
pub(crate) use rates::{Counting, Quota, Rate, RateLimitKey};
pub(crate) use sources::{Built, Pending, Refused, Sources};

pub(crate) use follow::follow;
pub(crate) use follow::spawn;

/// Methods by their gRPC paths.
type Entries = HashMap<Box<str>, Arc<MethodEntry>>;

/// An HTTP binding, and the method and plan that it leads to.
type Bound<'a> = (&'a Binding, Arc<MethodEntry>, Arc<Plan>);

/// One snapshot: every method of every upstream whose descriptors have been read.
pub(crate) struct MethodTable {
    contract: Contract,
    upstreams: Vec<Arc<Upstream>>,
    entries: Entries,
    routes: Routes<(Arc<MethodEntry>, Arc<Plan>)>,
    sources: Vec<Source>,
    pending: Vec<Arc<str>>,
    unserved: Vec<UnservedBinding>,
}

/// An HTTP binding for which no plan could be compiled.
struct UnservedBinding {
    method: Arc<str>,
    /// The binding, such as `GET /v1/products/{id}`.
    binding: String,
    why: PlanError,
}

/// What a contract comes to: its methods, what each HTTP binding that can be served leads to, and why others can't be.
struct Entered<'a> {
    entries: Entries,
    bound: Vec<Bound<'a>>,
    unserved: Vec<UnservedBinding>,
}

/// The values of a path template's variables, for [`Plan::request`].
pub(crate) type Variables = Vec<Cow<'static, str>>;

/// A method found by an HTTP method and path.
pub(crate) struct Found {
    /// The method.
    pub entry: Arc<MethodEntry>,
    /// How its request and answer are written under the binding that matched.
    pub plan: Arc<Plan>,
    /// What the path says: the values of the template's variables, decoded, in their order.
    pub variables: Variables,
}

impl MethodTable {
    /// The snapshot for a contract. What did not change goes on counting where `before` left off.
    pub(crate) fn new(built: &Built, upstreams: &[Arc<Upstream>], before: Option<&Self>) -> Result<Self, Refused> {
        let Entered { entries, bound, unserved } = entries(built, upstreams, before)?;
        let routes = bound.into_iter().map(|(http, entry, plan)| (http.method.as_str(), &http.template, (entry, plan)));
        Ok(Self {
            contract: built.contract.clone(),
            upstreams: upstreams.to_vec(),
            entries,
            routes: Routes::build(routes).map_err(|error| Refused::one(format!("error: {error}")))?,
            sources: built.sources.clone(),
            pending: built.pending.iter().map(|it| Arc::clone(&it.upstream)).collect(),
            unserved,
        })
    }

    /// The method at a gRPC path, `/pkg.Service/Method`. One look-up in a hash table.
    pub(crate) fn grpc(&self, path: &str) -> Option<&Arc<MethodEntry>> {
        self.entries.get(path)
    }

    /// The method whose HTTP binding matches.
    pub(crate) fn http(&self, method: &http::Method, path: &str) -> Result<Found, NoMatch> {
        let found = self.routes.find(method, path)?;
        let (entry, plan) = found.value;
        let variables = found.variables.into_iter().map(|text| Cow::Owned(text.into_owned())).collect();
        Ok(Found { entry: Arc::clone(entry), plan: Arc::clone(plan), variables })
    }

    /// Who serves a method of this contract.
    pub(crate) fn upstream_of(&self, method: &Method) -> Option<&Arc<Upstream>> {
        self.entries.get(&*format!("/{}", method.name)).map(|entry| &entry.upstream)
    }

    /// The upstreams, in the order of the configuration.
    pub(crate) fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Whether the descriptors of an upstream haven't been read yet, so that what isn't here may still come.
    pub(crate) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The upstreams whose descriptors haven't been read yet.
    pub(crate) fn pending(&self) -> &[Arc<str>] {
        &self.pending
    }

    /// Why some HTTP bindings are not served, one line each.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        self.unserved.iter().map(|UnservedBinding { method, binding, why }| {
            format!("warning: {method}: google.api.http: `{binding}`: {why}, so this binding is not served")
        })
    }

    /// Why a binding of this method is not served, where that is so.
    pub(crate) fn unserved(&self, method: &str, binding: &Binding) -> Option<&PlanError> {
        let text = binding.to_string();
        let unserved = self.unserved.iter().find(|it| *it.method == *method && it.binding == text)?;
        Some(&unserved.why)
    }

    /// Whether a binding of this method is served.
    pub(crate) fn serves(&self, method: &Method, binding: &Binding) -> bool {
        let has_place = !method.descriptor.is_client_streaming() || !matches!(binding.body, Body::None);
        has_place && self.unserved(&method.name, binding).is_none()
    }

    /// The effective contract.
    pub(crate) fn contract(&self) -> &Contract {
        &self.contract
    }

    /// How many methods there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many HTTP bindings of the methods are served.
    pub(crate) fn bindings(&self) -> usize {
        let all: usize = self.contract.methods().iter().map(|method| method.http.len()).sum();
        all - self.unserved.len()
    }

    /// How many methods nobody may call, since no layer says who may.
    pub(crate) fn denied(&self) -> usize {
        let is_denied = |entry: &&Arc<MethodEntry>| entry.method.policy.access == Access::Denied;
        self.entries.values().filter(is_denied).count()
    }

    /// The full names of the services, in order.
    pub(crate) fn services(&self) -> BTreeSet<&str> {
        self.entries.values().map(|entry| entry.service()).collect()
    }

    /// The full names of the services of one upstream, in order.
    pub(crate) fn services_of(&self, upstream: &str) -> BTreeSet<&str> {
        let of = |entry: &&Arc<MethodEntry>| **entry.upstream.name() == *upstream;
        self.entries.values().filter(of).map(|entry| entry.service()).collect()
    }

    /// The descriptors of each upstream, in the order of the configuration.
    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }
}

/// The entries of a contract, and what each HTTP binding leads to; or every reason why there is none.
fn entries<'a>(
    built: &'a Built,
    upstreams: &[Arc<Upstream>],
    before: Option<&MethodTable>,
) -> Result<Entered<'a>, Refused> {
    let of = |source: &Source| (Arc::new(Schema::compile(&source.pool)), Compiler::default());
    let schemas: HashMap<_, _> = built.sources.iter().map(|source| (&*source.upstream, of(source))).collect();
    let mut entered = Entered { entries: Entries::new(), bound: Vec::new(), unserved: Vec::new() };
    let mut reasons = Vec::new();
    let bounded = bounded(&built.contract);
    for method in built.contract.methods() {
        let upstream = upstreams.iter().find(|upstream| *upstream.name() == method.upstream);
        let (Some(upstream), Some((schema, compiler))) = (upstream, schemas.get(&*method.upstream)) else { continue };
        let path = format!("/{}", method.name).into_boxed_str();
        let before = before.and_then(|before| before.entries.get(&path)).map(Arc::as_ref);
        match MethodEntry::new(method, upstream, (schema, compiler), before, &bounded) {
            Ok((entry, plans)) => {
                let entry = Arc::new(entry);
                for (binding, plan) in method.http.iter().zip(plans) {
                    match plan {
                        Ok(plan) => entered.bound.push((binding, Arc::clone(&entry), plan)),
                        Err(why) => {
                            let (method, binding) = (Arc::clone(&method.name), binding.to_string());
                            entered.unserved.push(UnservedBinding { method, binding, why });
                        }
                    }
                }
                entered.entries.insert(path, entry);
            }
            Err(reason) => reasons.push(reason),
        }
    }
    if reasons.is_empty() { Ok(entered) } else { Err(Refused::all(reasons)) }
}

/// The tags of answers that gateways keep in their own memory without leases.
fn bounded(contract: &Contract) -> Vec<Template> {
    let caches = contract.methods().into_iter().filter_map(|method| method.policy.cache.as_ref());
    caches.filter(|cache| matches!(cache.near, Some(Near::Bounded(_)))).flat_map(|cache| cache.tags.clone()).collect()
}

#[cfg(test)]
pub(crate) mod tests;
