//! Namespaces over gRPC: who may do what with which keys, within the bounds of the configuration.

mod checks;
mod fresh;
mod idempotent;
mod load;
mod open_outcomes;
mod put;
mod replicated;
mod resume_token;
mod through;
mod watch;

use std::time::Duration;

use accord_api::accord::cache::v1::{
    self as api, BatchGetRequest, BatchGetResponse, CacheServiceInvalidateRequest, CacheServiceInvalidateResponse,
    DeleteRequest, DeleteResponse, Freshness, GetRequest, GetResponse, PutRequest, PutResponse, StatsRequest,
    StatsResponse, TouchRequest, TouchResponse, WatchRequest, WatchResponse, cache_service_invalidate_request::Scope,
    cache_service_server::CacheService,
};
use accord_api::accord::policy::v1::Acknowledgement;
use accord_mesh::guard::{Decider, credential};
use accord_mesh::{Question, refusal};
use accord_readthrough::{Change, Engine, Expected, InvalidationLog, Origin, Store, World};
use accord_runtime::deadline::Deadline;
use accord_runtime::request::{self, RequestId};
use accord_runtime::shutdown::Shutdown;
use accord_upstream::PREVIOUS_ATTEMPTS;
use futures_util::stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::consistency_tokens::ConsistencyTokens;
use crate::malformed::{bounded, malformed};
use crate::namespaces::{Namespaces, Space};
use crate::origin::OriginCall;
use crate::passport::Passports;
use crate::records::Records;
use crate::service::idempotency::is_key as is_idempotency_key;
use checks::{MOST_INVALIDATED_TAGS, absent, check_key, check_tags, denied, invalid, life, unknown};
use fresh::{Wanted, scope};
use idempotent::{Begun, IdempotentPut};
pub(crate) use replicated::Replicated;
use replicated::Until;
use through::detached;

/// Most keys of one `BatchGet`.
const MOST_KEYS: usize = 100;

/// The service.
#[derive(Debug)]
pub(crate) struct NamespaceService<L, O, S, W, A> {
    /// Where keys are held, and who else has to know of it.
    pub replicated: Replicated<L, O, S, W>,
    /// Which namespaces there are.
    pub namespaces: Namespaces,
    /// Decides who may read and write, and gives the passports under which keys are loaded.
    pub auth: A,
    /// The cache as an upstream: the audience of passports for it, and the resource of policies.
    pub audience: String,
    /// What every version begins with: this life of the cache, since the next one knows none of this one's values.
    pub version_prefix: String,
    /// Authenticates the tokens of watchers.
    pub tokens: ConsistencyTokens,
    /// The name of this replica.
    pub node: String,
    /// The records of idempotency keys.
    pub records: Records,
    /// Ends streams, so that a watcher that stays is not waited for.
    pub shutdown: Shutdown,
}

/// What a method does with a namespace.
#[derive(Clone, Copy)]
enum Use {
    Read,
    Write,
}

/// A call that may go on.
struct Admitted<'a, C> {
    space: &'a Space,
    tenant: String,
    /// Who calls, and by which token.
    caller: C,
    token: &'a str,
    deadline: Deadline,
    id: RequestId,
}

impl<C> Admitted<'_, C> {
    /// What a write waits for.
    fn until(&self, acknowledgement: i32) -> Until {
        let is_local = acknowledgement == i32::from(Acknowledgement::Local);
        Until { deadline: self.deadline, is_local }
    }
}

impl<L: InvalidationLog, O: Origin, S: Store, W: World, A: Decider> NamespaceService<L, O, S, W, A> {
    /// Finds the namespace, and asks whether the caller that the guard found may do this with it.
    async fn admit<'a, T: Sync>(
        &'a self,
        request: &'a Request<T>,
        (method, wanted): (&str, Use),
        name: &str,
    ) -> Result<Admitted<'a, A::Caller>, Status> {
        let caller = request.extensions().get::<A::Caller>().cloned();
        let caller = caller.ok_or_else(|| Status::internal("the method is served without a guard"))?;
        let space = self.namespaces.find(name).ok_or_else(|| unknown(name))?;
        let permission = match wanted {
            Use::Read => &space.config.read_permission,
            Use::Write => &space.config.write_permission,
        };
        let credential = credential(request.metadata().as_ref(), true).map_err(refusal::status)?;
        let deadline = request.extensions().get::<Deadline>().copied();
        let deadline = deadline.ok_or_else(|| Status::internal("the call has no deadline"))?;
        let id = request::id(request.extensions());
        let method = format!("accord.cache.v1.CacheService/{method}");
        let question = Question {
            method: &method,
            permission,
            audience: &self.audience,
            resource: "",
            address: None,
            protocol: "grpc",
            actor: None,
        };
        let decided = self.auth.authorize(credential.token(), &caller, &question, deadline, &id).await;
        decided.map_err(|refused| denied(refused, permission, &format!("in the namespace {name}")))?;
        let tenant = caller.as_ref().claims.tenant.clone();
        Ok(Admitted { space, tenant, caller, token: credential.token(), deadline, id })
    }

    fn engine(&self) -> &Engine<O, S, W> {
        self.replicated.engine()
    }

    fn freshness(&self, outcome: api::Outcome, age: Duration, ttl: Duration) -> Freshness {
        Freshness {
            outcome: outcome.into(),
            age: prost_types::Duration::try_from(age).ok(),
            ttl: prost_types::Duration::try_from(ttl).ok(),
            node: self.node.clone(),
            ..Freshness::default()
        }
    }

    fn version(&self, version: (u64, Option<u64>)) -> String {
        version_text(&self.version_prefix, version)
    }

    /// What a caller expects that the key holds. A version that was given in another life, or by nobody, is none that a key ever
    /// holds: 0. It counts letter for letter, since it is opaque.
    fn expected(&self, version: Option<&String>) -> Expected {
        let number = |version: &String| {
            let (_, number) = version.split_once('-')?;
            u64::from_str_radix(number, 16).ok()
        };
        match version {
            None => Expected::Anything,
            Some(version) if version.is_empty() => Expected::Nothing,
            Some(version) => match number(version) {
                Some(number) if self.version((0, Some(number))) == *version => Expected::OfOrigin(number),
                Some(number) if self.version((number, None)) == *version => Expected::Version(number),
                _ => Expected::Version(0),
            },
        }
    }
}

/// A version as callers see it: that of the origin where it gives one, which lasts, and else one of this life of the cache.
fn version_text(prefix: &str, (counter, of_origin): (u64, Option<u64>)) -> String {
    match of_origin {
        Some(version) => format!("o-{version:x}"),
        None => format!("{prefix}{counter:x}"),
    }
}

#[tonic::async_trait]
impl<L, O, S, W, A> CacheService for NamespaceService<L, O, S, W, A>
where
    L: InvalidationLog,
    O: Origin<Call = OriginCall>,
    S: Store,
    W: World,
    A: Decider + Passports,
{
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let GetRequest { namespace, key, consistency } = request.get_ref();
        let admitted = self.admit(&request, ("Get", Use::Read), namespace).await?;
        check_key(admitted.space, "key", key)?;
        let is_retried_outside = request.metadata().as_ref().contains_key(PREVIOUS_ATTEMPTS);
        let wanted = self.wanted(&admitted, consistency.as_ref()).await?;
        let entry = self.find(&admitted, key, (&wanted, is_retried_outside)).await?;
        Ok(Response::new(GetResponse { entry: Some(entry.ok_or_else(absent)?) }))
    }

    async fn batch_get(&self, request: Request<BatchGetRequest>) -> Result<Response<BatchGetResponse>, Status> {
        let BatchGetRequest { namespace, keys, consistency } = request.get_ref();
        let admitted = self.admit(&request, ("BatchGet", Use::Read), namespace).await?;
        bounded("keys", keys.len(), MOST_KEYS)?;
        if keys.is_empty() {
            return Err(malformed("`keys` is empty: name at least one"));
        }
        keys.iter().try_for_each(|key| check_key(admitted.space, "keys", key))?;
        let is_retried_outside = request.metadata().as_ref().contains_key(PREVIOUS_ATTEMPTS);
        let wanted = self.wanted(&admitted, consistency.as_ref()).await?;
        Ok(Response::new(self.find_batch(&admitted, keys, (&wanted, is_retried_outside)).await?))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let put = request.get_ref();
        let admitted = self.admit(&request, ("Put", Use::Write), &put.namespace).await?;
        let Some(key) = &put.idempotency_key else { return self.prepare_put(&admitted, put)?.await.map(Response::new) };
        if !is_idempotency_key(key) {
            return Err(invalid("idempotency_key", "is not of 1 to 255 printable characters"));
        }
        let who = (&*admitted.tenant, &*admitted.caller.as_ref().claims.sub);
        match IdempotentPut::begin(&self.records, admitted.space, who, (put, key)).await? {
            Begun::Repeated(response) => Ok(Response::new(response)),
            Begun::First(first) => match self.prepare_put(&admitted, put) {
                // The record has to say what was done, also where the caller has left meanwhile.
                Ok(put) => detached(async move { first.end(put.await).await }).await.map(Response::new),
                Err(status) => first.end(Err(status)).await.map(Response::new),
            },
        }
    }

    async fn touch(&self, request: Request<TouchRequest>) -> Result<Response<TouchResponse>, Status> {
        let TouchRequest { namespace, key, ttl } = request.get_ref();
        let admitted = self.admit(&request, ("Touch", Use::Write), namespace).await?;
        let Admitted { space, tenant, .. } = &admitted;
        check_key(space, "key", key)?;
        let ttl = life(space, ttl.as_ref())?;
        let found = self.engine().touch(&space.namespace, tenant, key, ttl).ok_or_else(absent)?;
        let freshness = self.freshness(api::Outcome::Hit, found.age, found.ttl);
        let freshness = Freshness { version: found.of_origin, ..freshness };
        let version = self.version((found.version, found.of_origin));
        let required = Wanted::default().required(self.replicated.replica(), (space, tenant), key);
        let consistency_token = self.tokens.of_answer(&required, &found.span, scope(space, tenant)).into();
        Ok(Response::new(TouchResponse { version, freshness: Some(freshness), consistency_token }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        let DeleteRequest { namespace, key, expected_version, acknowledgement } = request.get_ref();
        let admitted = self.admit(&request, ("Delete", Use::Write), namespace).await?;
        let (until, Admitted { space, tenant, .. }) = (admitted.until(*acknowledgement), &admitted);
        check_key(space, "key", key)?;
        let expected = self.expected(expected_version.as_ref());
        let (version, told) = if let Some(write) = self.through(space, tenant.clone(), key, expected, until)? {
            let (version, told) = write.delete().await?;
            (version.map(|version| (0, Some(version))), told)
        } else {
            self.delete_around(space, tenant, key, expected, until).await?
        };
        let version = version.map_or_else(String::new, |version| self.version(version));
        let consistency_token = self.write_tokens(space, tenant).issue(told, self.replicated.replica().next_serial());
        Ok(Response::new(DeleteResponse { version, consistency_token, acknowledgement: told.acknowledgement() }))
    }

    async fn invalidate(
        &self,
        request: Request<CacheServiceInvalidateRequest>,
    ) -> Result<Response<CacheServiceInvalidateResponse>, Status> {
        let CacheServiceInvalidateRequest { namespace, scope, acknowledgement } = request.get_ref();
        let admitted = self.admit(&request, ("Invalidate", Use::Write), namespace).await?;
        let (until, Admitted { space, tenant, .. }) = (admitted.until(*acknowledgement), &admitted);
        let change = match scope {
            Some(Scope::Tags(list)) if !list.tags.is_empty() => {
                check_tags(&list.tags, MOST_INVALIDATED_TAGS)?;
                Change::TagsInvalidated(list.tags.as_slice().into())
            }
            Some(Scope::Prefix(prefix)) if !prefix.is_empty() => Change::PrefixInvalidated(prefix.as_str().into()),
            Some(Scope::All(true)) => Change::PrefixInvalidated("".into()),
            _ => return Err(malformed("say what to invalidate: `tags`, a `prefix` that is not empty, or `all`")),
        };
        let told = self.replicated.invalidate((&space.namespace, tenant), change, until).await?;
        let consistency_token = self.write_tokens(space, tenant).issue(told, self.replicated.replica().next_serial());
        let acknowledgement = told.acknowledgement();
        Ok(Response::new(CacheServiceInvalidateResponse { consistency_token, acknowledgement }))
    }

    type WatchStream = std::pin::Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let message = request.get_ref();
        let admitted = self.admit(&request, ("Watch", Use::Read), &message.namespace).await?;
        if !message.prefix.is_empty() {
            check_key(admitted.space, "prefix", &message.prefix)?;
        }
        let watching = self.begin_to_watch(&admitted, message).await?;
        Ok(Response::new(Box::pin(watching.stream().take_until(self.shutdown.begun()))))
    }

    async fn stats(&self, request: Request<StatsRequest>) -> Result<Response<StatsResponse>, Status> {
        let space = self.admit(&request, ("Stats", Use::Read), &request.get_ref().namespace).await?.space;
        let (stats, limits) = (space.namespace.stats(), space.namespace.limits());
        Ok(Response::new(StatsResponse {
            entries: stats.entries,
            bytes: stats.bytes,
            max_entries: limits.entries,
            max_bytes: limits.bytes,
            hits: stats.hits,
            misses: stats.misses,
            puts: stats.puts,
            conflicts: stats.conflicts,
            loads: stats.loads,
        }))
    }
}
