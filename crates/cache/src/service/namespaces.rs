//! Namespaces over gRPC: who may do what with which keys, within the bounds of the configuration.

mod idempotent;
mod load;
mod open_outcomes;
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
use accord_api::accord::fault::v1::Reason;
use accord_mesh::guard::{Decider, credential};
use accord_mesh::{Question, refusal};
use accord_readthrough::{Conflict, Engine, Expected, Origin, Store, World, Write};
use accord_runtime::deadline::Deadline;
use accord_runtime::fault::{self, StatusBuilder};
use accord_runtime::request::{self, RequestId};
use accord_runtime::shutdown::Shutdown;
use accord_token::Refusal;
use accord_upstream::PREVIOUS_ATTEMPTS;
use futures_util::stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::malformed::{bounded, duration, malformed};
use crate::namespaces::{Namespaces, Space};
use crate::origin::OriginCall;
use crate::passport::Passports;
use crate::records::Records;
use crate::service::idempotency::is_key as is_idempotency_key;
use idempotent::{Begun, IdempotentPut};
pub(crate) use open_outcomes::OpenOutcomes;
pub(crate) use resume_token::ResumeTokens;
use through::{ThroughValue, detached};
use watch::Watching;

/// Most keys of one `BatchGet`.
const MOST_KEYS: usize = 100;

/// Most bytes of keys and values that it answers with: with all that is around them less than the 4 MiB that clients take.
const MOST_BATCH_BYTES: usize = 3 * 1024 * 1024;

/// Most tags of a value.
const MOST_TAGS: usize = 16;

/// Most tags of one invalidation.
const MOST_INVALIDATED_TAGS: usize = 100;

/// Longest tag.
const LONGEST_TAG: usize = 256;

/// The service.
#[derive(Debug)]
pub(crate) struct NamespaceService<O, S, W, A> {
    /// Where keys are held.
    pub engine: Engine<O, S, W>,
    /// Which namespaces there are.
    pub namespaces: Namespaces,
    /// Decides who may read and write, and gives the passports under which keys are loaded.
    pub auth: A,
    /// The cache as an upstream: the audience of passports for it, and the resource of policies.
    pub audience: String,
    /// What every version begins with: this life of the cache, since the next one knows none of this one's values.
    pub version_prefix: String,
    /// Makes and reads the tokens of watchers.
    pub resume_tokens: ResumeTokens,
    /// Keys whose last write may still be carried out.
    pub open_outcomes: OpenOutcomes<O, S, W>,
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

impl<O: Origin, S: Store, W: World, A: Decider> NamespaceService<O, S, W, A> {
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
            address: None,
            protocol: "grpc",
            actor: None,
        };
        let decided = self.auth.authorize(credential.token(), &caller, &question, deadline, &id).await;
        decided.map_err(|refused| denied(refused, permission, &format!("in the namespace {name}")))?;
        let tenant = caller.as_ref().claims.tenant.clone();
        Ok(Admitted { space, tenant, caller, token: credential.token(), deadline, id })
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

impl<O: Origin, S: Store, W: World, A: Decider> NamespaceService<O, S, W, A> {
    /// A put that may go on. It is carried out by itself, whoever waits for it.
    fn prepare_put(
        &self,
        admitted: &Admitted<'_, A::Caller>,
        put: &PutRequest,
    ) -> Result<impl Future<Output = Result<PutResponse, Status>> + Send + use<O, S, W, A>, Status> {
        let Admitted { space, tenant, deadline, .. } = admitted;
        check_key(space, "key", &put.key)?;
        check_value(space, put.value.len())?;
        check_tags(&put.tags, MOST_TAGS)?;
        let ttl = life(space, put.ttl.as_ref())?;
        let expected = self.expected(put.expected_version.as_ref());
        // A copy as large as the value: the buffer that it came in is larger, and would live for as long as the value.
        let value = bytes::Bytes::copy_from_slice(&put.value);
        let through = self.through(space, tenant.clone(), &put.key, expected, *deadline);
        let (engine, namespace) = (self.engine.clone(), space.namespace.clone());
        let (tenant, key, tags) = (tenant.clone(), put.key.clone(), put.tags.clone());
        let freshness = self.freshness(api::Outcome::Unspecified, Duration::ZERO, ttl);
        let prefix = self.version_prefix.clone();
        Ok(async move {
            let (version, stored) = if let Some(write) = through {
                let (version, stored) = write.put(ThroughValue { value, tags, ttl }).await?;
                ((0, Some(version)), stored)
            } else {
                let write = Write { tenant: &tenant, key: &key, value, tags: &tags, ttl, expected };
                let written = engine.put(&namespace, write).map_err(conflict)?;
                ((written.version, None), written.stored)
            };
            let freshness = Freshness { stored, ..freshness };
            Ok(PutResponse { version: version_text(&prefix, version), freshness: Some(freshness) })
        })
    }
}

#[tonic::async_trait]
impl<O, S, W, A> CacheService for NamespaceService<O, S, W, A>
where
    O: Origin<Call = OriginCall>,
    S: Store,
    W: World,
    A: Decider + Passports,
{
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let GetRequest { namespace, key } = request.get_ref();
        let admitted = self.admit(&request, ("Get", Use::Read), namespace).await?;
        check_key(admitted.space, "key", key)?;
        let is_retried_outside = request.metadata().as_ref().contains_key(PREVIOUS_ATTEMPTS);
        let entry = self.find(&admitted, key, is_retried_outside).await?;
        Ok(Response::new(GetResponse { entry: Some(entry.ok_or_else(absent)?) }))
    }

    async fn batch_get(&self, request: Request<BatchGetRequest>) -> Result<Response<BatchGetResponse>, Status> {
        let BatchGetRequest { namespace, keys } = request.get_ref();
        let admitted = self.admit(&request, ("BatchGet", Use::Read), namespace).await?;
        bounded("keys", keys.len(), MOST_KEYS)?;
        if keys.is_empty() {
            return Err(malformed("`keys` is empty: name at least one"));
        }
        keys.iter().try_for_each(|key| check_key(admitted.space, "keys", key))?;
        let is_retried_outside = request.metadata().as_ref().contains_key(PREVIOUS_ATTEMPTS);
        Ok(Response::new(self.find_batch(&admitted, keys, is_retried_outside).await?))
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
        let Admitted { space, tenant, .. } = self.admit(&request, ("Touch", Use::Write), namespace).await?;
        check_key(space, "key", key)?;
        let ttl = life(space, ttl.as_ref())?;
        let found = self.engine.touch(&space.namespace, &tenant, key, ttl).ok_or_else(absent)?;
        let freshness = self.freshness(api::Outcome::Hit, found.age, found.ttl);
        let freshness = Freshness { version: found.of_origin, ..freshness };
        let version = self.version((found.version, found.of_origin));
        Ok(Response::new(TouchResponse { version, freshness: Some(freshness) }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        let DeleteRequest { namespace, key, expected_version } = request.get_ref();
        let Admitted { space, tenant, deadline, .. } = self.admit(&request, ("Delete", Use::Write), namespace).await?;
        check_key(space, "key", key)?;
        let expected = self.expected(expected_version.as_ref());
        let version = match self.through(space, tenant.clone(), key, expected, deadline) {
            Some(write) => write.delete().await?.map(|version| (0, Some(version))),
            None => self.engine.delete(&space.namespace, &tenant, key, expected).map_err(conflict)?,
        };
        let version = version.map_or_else(String::new, |version| self.version(version));
        Ok(Response::new(DeleteResponse { version }))
    }

    async fn invalidate(
        &self,
        request: Request<CacheServiceInvalidateRequest>,
    ) -> Result<Response<CacheServiceInvalidateResponse>, Status> {
        let CacheServiceInvalidateRequest { namespace, scope } = request.get_ref();
        let Admitted { space, tenant, .. } = self.admit(&request, ("Invalidate", Use::Write), namespace).await?;
        match scope {
            Some(Scope::Tags(list)) if !list.tags.is_empty() => {
                check_tags(&list.tags, MOST_INVALIDATED_TAGS)?;
                self.engine.invalidate_tags(&space.namespace, &tenant, &list.tags);
            }
            Some(Scope::Prefix(prefix)) if !prefix.is_empty() => {
                self.engine.invalidate_prefix(&space.namespace, &tenant, prefix);
            }
            Some(Scope::All(true)) => self.engine.invalidate_prefix(&space.namespace, &tenant, ""),
            _ => return Err(malformed("say what to invalidate: `tags`, a `prefix` that is not empty, or `all`")),
        }
        Ok(Response::new(CacheServiceInvalidateResponse {}))
    }

    type WatchStream = std::pin::Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let message = request.get_ref();
        let admitted = self.admit(&request, ("Watch", Use::Read), &message.namespace).await?;
        if !message.prefix.is_empty() {
            check_key(admitted.space, "prefix", &message.prefix)?;
        }
        let who = (&*admitted.tenant, &*admitted.caller.as_ref().claims.sub);
        let watching = Watching::begin(admitted.space, who, message, (&self.version_prefix, &self.resume_tokens))?;
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

fn unknown(name: &str) -> Status {
    let name: String = name.chars().take(64).collect();
    let message =
        format!("the cache's configuration declares no namespace {name:?}: give it the section [[namespace]]");
    fault::status(Reason::NamespaceUnknown, message)
}

/// Says which permission it was, and where: the caller can ask for it.
fn denied(refused: Refusal, permission: &str, place: &str) -> Status {
    if refused != Refusal::PermissionMissing {
        return refusal::status(refused);
    }
    let message = format!(
        "this takes the permission `{permission}` {place}, which the caller lacks; a policy of auth grants it to a role"
    );
    fault::status(Reason::PermissionMissing, message)
}

fn too_large() -> Status {
    let message = format!("the values are more than {MOST_BATCH_BYTES} bytes: ask for fewer keys at a time");
    fault::status(Reason::ResponseTooLarge, message)
}

fn absent() -> Status {
    fault::status(Reason::KeyAbsent, "the key holds nothing, or nothing any more")
}

fn conflict(conflict: Conflict) -> Status {
    fault::status(Reason::VersionConflict, format!("{conflict}: read it again"))
}

fn invalid(field: &str, problem: &str) -> Status {
    StatusBuilder::new(Reason::FieldInvalid, format!("`{field}` {problem}")).field(field, problem).build()
}

fn check_key(space: &Space, field: &str, key: &str) -> Result<(), Status> {
    let most = space.config.max_key_bytes;
    if (1..=most).contains(&key.len()) {
        return Ok(());
    }
    Err(invalid(field, &format!("has a key that is empty, or longer than the namespace's {most} bytes")))
}

fn check_value(space: &Space, bytes: usize) -> Result<(), Status> {
    let most = space.config.max_value_bytes;
    if bytes <= most {
        return Ok(());
    }
    let message = format!("the value has {bytes} bytes, more than the namespace's {most}");
    Err(fault::status(Reason::RequestTooLarge, message))
}

fn check_tags(tags: &[String], most: usize) -> Result<(), Status> {
    bounded("tags", tags.len(), most)?;
    let is_tag = |tag: &String| (1..=LONGEST_TAG).contains(&tag.len());
    if tags.iter().all(is_tag) { Ok(()) } else { Err(invalid("tags", "has a tag that is not of 1 to 256 bytes")) }
}

/// The life that a caller wants, or the one that the namespace gives.
fn life(space: &Space, ttl: Option<&prost_types::Duration>) -> Result<Duration, Status> {
    let Some(ttl) = ttl else { return Ok(space.config.default_ttl) };
    let (ttl, most) = (duration("ttl", Some(ttl))?, space.config.max_ttl);
    if !ttl.is_zero() && ttl <= most {
        return Ok(ttl);
    }
    Err(invalid("ttl", &format!("is nothing, or longer than the namespace's {} s", most.as_secs_f64())))
}
