//! What a key holds, or what its namespace's origin brings for it.

use std::sync::Arc;

use accord_api::accord::cache::v1::{self as api, Entry, Freshness};
use accord_mesh::Question;
use accord_mesh::guard::Decider;
use accord_readthrough::{Failure, Found, KeyLoad, Origin, Store, World};
use accord_runtime::current_call::CurrentCall;
use accord_runtime::fair_share::Holder;
use accord_upstream::Upstream;
use http::HeaderMap;
use tonic::{Code, Status};

use super::{Admitted, NamespaceService, denied};
use crate::namespace_origin::KeyOrigin;
use crate::origin::{OriginCall, Target};
use crate::passport::Passports;
use crate::service::{outcome, overloaded};

impl<O, S, W, A> NamespaceService<O, S, W, A>
where
    O: Origin<Call = OriginCall>,
    S: Store,
    W: World,
    A: Decider + Passports,
{
    /// What a key holds; what it does not, its namespace's origin is asked for, where there is one.
    pub(super) async fn find(
        &self,
        admitted: &Admitted<'_, A::Caller>,
        key: &str,
        is_retried_outside: bool,
    ) -> Result<Option<Entry>, Status> {
        match self.held(admitted, key) {
            Some(entry) => Ok(Some(entry)),
            None => self.load(admitted, key, is_retried_outside).await,
        }
    }

    /// What a key holds.
    pub(super) fn held(&self, admitted: &Admitted<'_, A::Caller>, key: &str) -> Option<Entry> {
        let found = self.engine.get(&admitted.space.namespace, &admitted.tenant, key)?;
        Some(self.entry(key, found, api::Outcome::Hit))
    }

    /// What its namespace's origin brings for a key that holds nothing, where there is one.
    pub(super) async fn load(
        &self,
        admitted: &Admitted<'_, A::Caller>,
        key: &str,
        is_retried_outside: bool,
    ) -> Result<Option<Entry>, Status> {
        let Admitted { space, tenant, .. } = admitted;
        let Some((origin, upstream)) = &space.origin else { return Ok(None) };
        let call = self.call(admitted, (origin, upstream), key, is_retried_outside).await?;
        let (ttl, wait_budget) = (space.config.default_ttl, admitted.deadline.remaining());
        let load = KeyLoad { ttl, wait_budget, call };
        let answer = self.engine.load_key(&space.namespace, (tenant, key), &load).await.map_err(overloaded)?;
        let mut entry = match answer.found {
            Ok(found) => self.entry(key, found, outcome(answer.outcome)),
            Err(failure) => return absent_or(failure),
        };
        if let Some(freshness) = &mut entry.freshness {
            (freshness.stored, freshness.collapsed) = (answer.stored, answer.collapsed);
        }
        Ok(Some(entry))
    }

    /// The call of the origin, under the caller's own passport, if the caller might call its method by the gateway: the cache has
    /// no rights there, and what is loaded is held for others.
    async fn call(
        &self,
        admitted: &Admitted<'_, A::Caller>,
        (origin, upstream): (&Arc<KeyOrigin>, &Arc<Upstream>),
        key: &str,
        is_retried_outside: bool,
    ) -> Result<OriginCall, Status> {
        let (method, permission, audience) = (&*origin.method, &*origin.permission, &*origin.upstream);
        let question = Question { method, permission, audience, address: None, actor: None };
        let Admitted { caller, token, deadline, id, .. } = admitted;
        let passport = self.auth.exchange(token, caller.as_ref(), &question, *deadline, id).await;
        Ok(OriginCall {
            target: Target::Key(Arc::clone(origin)),
            upstream: Arc::clone(upstream),
            request: origin.request(key),
            passport: Some(
                passport.map_err(|refused| denied(refused, permission, &format!("on the upstream {audience}")))?,
            ),
            headers: HeaderMap::new(),
            holder: Some(Holder::principal(&caller.as_ref().claims.sub, None)),
            is_retried_outside,
            id: id.clone(),
            read: CurrentCall::get(),
        })
    }

    fn entry(&self, key: &str, found: Found, outcome: api::Outcome) -> Entry {
        let freshness: Freshness = self.freshness(outcome, found.age, found.ttl);
        let version = self.version(found.version);
        Entry { key: key.to_owned(), value: found.value, version, freshness: Some(freshness) }
    }
}

/// An origin that has nothing of this name leaves the key absent; what else it said, its caller is told.
fn absent_or(failure: Failure) -> Result<Option<Entry>, Status> {
    match Code::from_i32(failure.code) {
        Code::NotFound => Ok(None),
        code => Err(Status::with_details(code, failure.message, failure.details)),
    }
}
