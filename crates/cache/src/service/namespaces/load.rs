//! What a key holds, or what its namespace's origin brings for it.

use std::sync::Arc;

use accord_api::accord::cache::v1::{self as api, BatchGetResponse, Entry, FailedKey, Freshness};
use accord_mesh::guard::Decider;
use accord_readthrough::{
    Failure, Found, InvalidationLog, KeyAnswer, KeyLoad, KeyRequirement, Origin, Overload, Required, Store, World,
};
use accord_runtime::current_call::CurrentCall;
use accord_runtime::fair_share::Holder;
use futures_util::future::try_join_all;
use tonic::{Code, Status};

use super::checks::{MOST_BATCH_BYTES, denied, too_large};
use super::fresh::{Wanted, not_stored, scope};
use super::{Admitted, NamespaceService};
use crate::load_span::link;
use crate::namespace_origin::{KeyCall, KeyCaller, KeyOrigin};
use crate::origin::OriginCall;
use crate::origin_failure::failure_of;
use crate::passport::Passports;
use crate::service::{outcome, overloaded};

/// Calls of one batch to the origin at a time.
const CALLS_AT_ONCE: usize = 16;

/// What a read requires of a key.
struct OfKey {
    /// By its tokens, from which that of the answer is made.
    required: Required,
    /// The same as the engine takes it.
    of_engine: KeyRequirement,
}

/// What became of a key: what it holds, if anything, or why nobody knows.
type Known = Result<Option<Entry>, Failure>;

impl<L, O, S, W, A> NamespaceService<L, O, S, W, A>
where
    L: InvalidationLog,
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
        (wanted, is_retried_outside): (&Wanted, bool),
    ) -> Result<Option<Entry>, Status> {
        let of_key = self.of_key(admitted, key, wanted);
        match self.found(admitted, key, &of_key) {
            Some(found) => Ok(Some(self.entry(admitted, (key, &of_key), found, api::Outcome::Hit))),
            None if wanted.only_if_cached && admitted.space.origin.is_some() => Err(not_stored()),
            None => {
                self.turn(admitted, (key, &of_key), wanted).await?;
                self.load(admitted, (key, &of_key), is_retried_outside).await
            }
        }
    }

    /// Waits until a load may begin, where a token that can't be judged forces it.
    async fn turn(
        &self,
        admitted: &Admitted<'_, A::Caller>,
        (key, of_key): (&str, &OfKey),
        wanted: &Wanted,
    ) -> Result<(), Status> {
        let Admitted { space, tenant, caller, deadline, .. } = admitted;
        if space.origin.is_none() || !of_key.required.is_unjudged || wanted.is_strong() {
            return Ok(());
        }
        let (place, subject) = (space.namespace.place(tenant, key), &caller.as_ref().claims.sub);
        self.tokens.forced_loads().turn(&place, subject, deadline.remaining()).await
    }

    /// What a read requires of a key.
    fn of_key(&self, admitted: &Admitted<'_, A::Caller>, key: &str, wanted: &Wanted) -> OfKey {
        let Admitted { space, tenant, .. } = admitted;
        let required = wanted.required(self.replicated.replica(), (space, tenant), key);
        OfKey { required, of_engine: wanted.of_key(space, &required) }
    }

    /// What a key holds.
    fn found(&self, admitted: &Admitted<'_, A::Caller>, key: &str, of_key: &OfKey) -> Option<Found> {
        self.engine().get_required(&admitted.space.namespace, (&admitted.tenant, key), of_key.of_engine)
    }

    /// What its namespace's origin brings for a key that holds nothing, where there is one.
    async fn load(
        &self,
        admitted: &Admitted<'_, A::Caller>,
        (key, of_key): (&str, &OfKey),
        is_retried_outside: bool,
    ) -> Result<Option<Entry>, Status> {
        let Admitted { space, tenant, .. } = admitted;
        let Some(origin) = &space.origin else { return Ok(None) };
        let caller = self.caller(admitted, &**origin, is_retried_outside).await?;
        let load = load_of(admitted, origin, &caller, (key, of_key));
        let answer = self.engine().load_key(&space.namespace, (tenant, key), &load).await.map_err(overloaded)?;
        link(answer.trace);
        self.known(admitted, (key, of_key), Ok(answer)).map_err(status_of)
    }

    /// What keys hold; those that hold nothing are loaded together. A key that fails fails alone, and where nothing is known of any
    /// key, the first failure is that of all.
    pub(super) async fn find_batch(
        &self,
        admitted: &Admitted<'_, A::Caller>,
        keys: &[String],
        (wanted, is_retried_outside): (&Wanted, bool),
    ) -> Result<BatchGetResponse, Status> {
        // Most keys hold something: what has to be waited for is what does not.
        let begun = self.engine().now();
        let of_keys: Vec<_> = keys.iter().map(|key| (&**key, self.of_key(admitted, key, wanted))).collect();
        let held: Vec<_> = of_keys.iter().map(|(key, of_key)| self.found(admitted, key, of_key)).collect();
        let entry =
            |(key, of_key): &(&str, OfKey), found| self.entry(admitted, (key, of_key), found, api::Outcome::Hit);
        let hit = |(of_key, held): (&(&str, OfKey), &Option<Found>)| Ok(held.clone().map(|found| entry(of_key, found)));
        let mut known: Vec<Known> = of_keys.iter().zip(&held).map(hit).collect();
        let missing: Vec<_> = (0..keys.len()).filter(|index| matches!(known[*index], Ok(None))).collect();
        if wanted.only_if_cached && admitted.space.origin.is_some() {
            for index in missing {
                known[index] = Err(failure_of(&not_stored()));
            }
            return batch_answer(keys, known);
        }
        if let Some(origin) = admitted.space.origin.as_ref().filter(|_| !missing.is_empty()) {
            let turns = missing.iter().map(|index| &of_keys[*index]);
            try_join_all(turns.map(|(key, of_key)| self.turn(admitted, (key, of_key), wanted))).await?;
            let caller = self.caller(admitted, &**origin, is_retried_outside).await?;
            let most = origin.most_keys();
            for some in missing.chunks(most.saturating_mul(CALLS_AT_ONCE)) {
                within_bounds(keys, &known)?;
                let load = |index: &usize| {
                    let (key, of_key) = &of_keys[*index];
                    (*key, load_of(admitted, origin, &caller, (key, of_key)))
                };
                let loads: Vec<_> = some.iter().map(load).collect();
                let answers = self.engine().load_keys(&admitted.space.namespace, &admitted.tenant, &loads, most).await;
                link(answers.iter().flatten().filter_map(|answer| answer.trace));
                for (index, answer) in some.iter().zip(answers) {
                    let (key, of_key) = &of_keys[*index];
                    known[*index] = self.known(admitted, (key, of_key), answer);
                }
            }
            // What was held has waited for the others.
            let elapsed = self.engine().now().since(begun);
            for ((of_key, held), known) in of_keys.iter().zip(held).zip(&mut known) {
                if let Some(held) = held {
                    *known = Ok(Some(entry(of_key, held.after(elapsed))));
                }
            }
        }
        batch_answer(keys, known)
    }

    /// Whose load it is, under the caller's own passport where the origin takes one, if the caller might call its method by the
    /// gateway: the cache has no rights there, and what is loaded is held for others.
    async fn caller(
        &self,
        admitted: &Admitted<'_, A::Caller>,
        origin: &dyn KeyOrigin,
        is_retried_outside: bool,
    ) -> Result<KeyCaller, Status> {
        let Admitted { caller, token, deadline, id, .. } = admitted;
        let passport = match origin.question() {
            None => None,
            Some(question) => {
                let passport = self.auth.exchange(token, caller.as_ref(), &question, *deadline, id).await;
                let place = || format!("on the upstream {}", question.audience);
                Some(passport.map_err(|refused| denied(refused, question.permission, &place()))?)
            }
        };
        Ok(KeyCaller {
            tenant: admitted.tenant.as_str().into(),
            passport,
            holder: Holder::principal(&caller.as_ref().claims.sub, None),
            is_retried_outside,
            id: id.clone(),
            read: CurrentCall::get(),
        })
    }

    /// What is known of a key by a load. An origin that has nothing of this name leaves the key absent; what else it said, its
    /// caller is told.
    fn known(
        &self,
        admitted: &Admitted<'_, A::Caller>,
        of_key: (&str, &OfKey),
        answer: Result<KeyAnswer, Overload>,
    ) -> Known {
        let answer = answer.map_err(|overload| failure_of(&overloaded(overload)))?;
        let mut entry = match answer.found {
            Ok(found) => self.entry(admitted, of_key, found, outcome(answer.outcome)),
            Err(failure) if Code::from_i32(failure.code) == Code::NotFound => return Ok(None),
            Err(failure) => return Err(failure),
        };
        if let Some(freshness) = &mut entry.freshness {
            (freshness.stored, freshness.collapsed) = (answer.stored, answer.collapsed);
        }
        Ok(Some(entry))
    }

    fn entry(
        &self,
        admitted: &Admitted<'_, A::Caller>,
        (key, of_key): (&str, &OfKey),
        found: Found,
        outcome: api::Outcome,
    ) -> Entry {
        let freshness = self.freshness(outcome, found.age, found.ttl);
        let freshness = Freshness { version: found.of_origin, ..freshness };
        let version = self.version((found.version, found.of_origin));
        let scope = scope(admitted.space, &admitted.tenant);
        let consistency_token = self.tokens.of_answer(&of_key.required, &found.span, scope);
        Entry { key: key.to_owned(), value: found.value, version, freshness: Some(freshness), consistency_token }
    }
}

fn load_of<C>(
    admitted: &Admitted<'_, C>,
    origin: &Arc<dyn KeyOrigin>,
    caller: &KeyCaller,
    (key, of_key): (&str, &OfKey),
) -> KeyLoad<OriginCall> {
    let call = KeyCall { origin: Arc::clone(origin), key: key.into(), caller: caller.clone() };
    let (ttl, wait_budget) = (admitted.space.config.default_ttl, admitted.deadline.remaining());
    KeyLoad { ttl, wait_budget, required: of_key.of_engine, call: OriginCall::Key(call) }
}

fn batch_answer(keys: &[String], known: Vec<Known>) -> Result<BatchGetResponse, Status> {
    if let Some(Err(first)) = known.first()
        && known.iter().all(Result::is_err)
    {
        return Err(status_of(first.clone()));
    }
    within_bounds(keys, &known)?;
    let mut answer = BatchGetResponse::default();
    for (key, known) in keys.iter().zip(known) {
        match known {
            Ok(Some(entry)) => answer.entries.push(entry),
            Ok(None) => answer.absent.push(key.clone()),
            Err(Failure { code, message, details }) => {
                answer.failed.push(FailedKey { key: key.clone(), code, message, details });
            }
        }
    }
    Ok(answer)
}

/// Whether an answer with these entries and failures is one that clients take.
fn within_bounds(keys: &[String], known: &[Known]) -> Result<(), Status> {
    let told = |known: &Known| match known {
        Ok(Some(entry)) => entry.value.len(),
        Ok(None) => 0,
        Err(failure) => failure.message.len() + failure.details.len(),
    };
    let bytes: usize = keys.iter().zip(known).map(|(key, known)| key.len() + told(known)).sum();
    if bytes > MOST_BATCH_BYTES { Err(too_large()) } else { Ok(()) }
}

fn status_of(failure: Failure) -> Status {
    Status::with_details(Code::from_i32(failure.code), failure.message, failure.details)
}

#[cfg(test)]
mod tests {
    use accord_api::accord::fault::v1::Reason;
    use accord_runtime::fault;
    use bytes::Bytes;

    use super::*;

    #[test]
    fn failures_of_a_batch_count_in_its_bound() {
        let keys: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        let answer = |details: usize| {
            let details = Bytes::from(vec![0; details]);
            let failed = Failure { code: 14, message: "down".to_owned(), details };
            let known = keys.iter().map(|key| if key == "0" { Ok(None) } else { Err(failed.clone()) }).collect();
            batch_answer(&keys, known)
        };
        assert_eq!(answer(1024).unwrap().failed.len(), 99);
        assert_eq!(fault::reason_of(&answer(64 * 1024).unwrap_err()), Some(Reason::ResponseTooLarge));
    }
}
