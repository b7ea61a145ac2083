//! From a configuration to services that end in order.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use accord_api::FILE_DESCRIPTOR_SET;
use accord_api::accord::cache::v1::cache_service_server::CacheServiceServer;
use accord_api::accord::cache::v1::idempotency_service_server::IdempotencyServiceServer;
use accord_api::accord::cache::v1::invalidation_service_server::InvalidationServiceServer;
use accord_api::accord::cache::v1::read_through_service_server::ReadThroughServiceServer;
use accord_mesh::MeshClient;
use accord_mesh::guard::{self, Decider, Guard, GuardedServer};
use accord_readthrough::{Engine, InProcessLog, Limits, Live, MemoryStore, Metrics, Replica};
use accord_runtime::grpc_server::GrpcServer;
use accord_runtime::progress::{Progress, Unit};
use accord_runtime::{
    admin, cli::Newest, health::Health, probe, server::Listener, shutdown::Shutdown, telemetry, workers::Workers,
};
use anyhow::{Context, Result, bail};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use crate::checker::Checker;
use crate::config::Config;
use crate::consistency_tokens::ConsistencyTokens;
use crate::data_lock::DataLock;
use crate::log::{self, LiveEngine, LiveReplica, Log, PostgresLog};
use crate::namespace_origin::query::QueryOrigin;
use crate::namespace_origin::records::KeyRecords;
use crate::namespaces::Namespaces;
use crate::origin::Loader;
use crate::outbox::{self, database::Database};
use crate::passport::Passports;
use crate::plans::Plans;
use crate::records::Records;
use crate::second_level::SharedStore;
use crate::service::{
    idempotency::Idempotency,
    invalidation::Invalidation,
    namespaces::{NamespaceService, Replicated},
    read_through::ReadThrough,
};
use crate::upstreams::Upstreams;

const IDEMPOTENCY: &str = "accord.cache.v1.IdempotencyService";

const SERVICES: &[&str] = &[
    "accord.cache.v1.ReadThroughService",
    "accord.cache.v1.CacheService",
    "accord.cache.v1.InvalidationService",
    IDEMPOTENCY,
];

/// What the cache can't be without, in the words of its readiness.
const DATA_LOCK: &str = "lock of the data directory";
const LEASES_OVER: &str = "end of leases of the cache before";

/// What reads can do without, in the words of its health.
const SECOND_LEVEL: &str = "second_level";

/// Between two questions whether the records answer.
const PROBES: Duration = Duration::from_millis(200);

/// Largest message that is decoded. Contracts bound requests and answers at the gateway; this only keeps a peer that has not
/// been admitted yet from reserving gigabytes by a word.
const LARGEST: usize = 64 * 1024 * 1024;

/// What lasts, in `records.url`.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Of idempotency keys.
    pub idempotency: Records,
    /// Of namespaces, where one has any.
    pub keys: Option<KeyRecords>,
}

impl Stores {
    /// Opens what the configuration needs.
    pub async fn open(config: &Config) -> Result<Self> {
        let url = config.records.url.expose();
        // Its tables are brought up to date as well.
        let _opening = Progress::begin("opening the store", Unit::Time);
        let idempotency = Records::open(url).await?;
        let has_keys = config.namespace.iter().any(|namespace| namespace.records.is_some());
        Ok(Self { idempotency, keys: if has_keys { Some(KeyRecords::open(url).await?) } else { None } })
    }

    async fn close(&self) {
        self.idempotency.close().await;
        if let Some(keys) = &self.keys {
            keys.close().await;
        }
    }
}

/// Refuses queries of namespaces that their servers refuse.
async fn check_queries(config: &Config) -> Result<()> {
    for namespace in &config.namespace {
        let Some(query) = &namespace.query else { continue };
        let checked = QueryOrigin::new(query, &namespace.name, namespace.max_value_bytes)?.check().await;
        let problem = || format!("`namespace.query.sql` of the namespace {} can't be used", namespace.name);
        checked.map_err(anyhow::Error::msg).with_context(problem)?;
    }
    Ok(())
}

/// Refuses outboxes that are not installed as they are configured: changes would go unheard.
async fn check_outboxes(config: &Config) -> Result<()> {
    for outbox in &config.outbox {
        let Some(url) = &outbox.url else { continue };
        let missing = async { Database::connect(url, &outbox.schema).await?.missing(outbox).await };
        match missing.await {
            Ok(missing) if missing.is_empty() => {}
            Ok(missing) => {
                let (name, missing) = (&outbox.name, missing.join("; "));
                bail!("the outbox {name} is not as configured ({missing}): run `accord-cache outbox install {name}`");
            }
            Err(error) => tracing::warn!(%error, outbox = outbox.name, "an outbox can't be looked at yet"),
        }
    }
    Ok(())
}

/// Serves until a signal to stop, then until the calls in flight have ended.
pub async fn serve(config: Config, newest: Newest<Config>, workers: &Workers) -> Result<()> {
    let telemetry = telemetry::init("accord-cache", &config.telemetry)?;
    let shutdown = Shutdown::on_signals(config.grace)?;
    let health = Health::new();
    health.follow(&shutdown);

    // First what can only fail here, so that its error is not lost among words of others.
    let stores = Stores::open(&config).await.context("the records can't be opened; check `records.url`")?;
    check_queries(&config).await?;
    check_outboxes(&config).await?;
    let mesh = MeshClient::join_by(&config.auth, &config.discovery.dns, shutdown.clone())?;
    health.follow_dependency("auth", mesh.readiness());
    tokio::spawn(sweep(stores.idempotency.clone(), config.records.sweep_interval));
    let upstreams = Upstreams::new(&config.upstream, &config.discovery)?;
    upstreams.keep_checking_health();
    tokio::spawn(follow_configuration(upstreams.clone(), newest));
    if config.upstream.is_empty() {
        tracing::warn!("no upstream is configured, so nothing can be loaded: add [[upstream]] or --upstream NAME=URL");
    }
    let built_in_only = Arc::new(guard::contract(FILE_DESCRIPTOR_SET, &[])?);
    let guard = Guard::new(&built_in_only, mesh.clone());
    let internal = admin::service(GrpcServer::new(&health, guard), &telemetry, &health)?;
    let admin = Listener::bind(&config.admin).await?;
    tracing::info!(admin = %admin.address(), "alive");

    health.require(DATA_LOCK);
    let public = async {
        let served = serve_alone(&config, workers, &shutdown, &health, &upstreams, &mesh, &stores).await;
        // Where it can't serve, the admin port has nothing more to say.
        shutdown.begin();
        served
    };
    let (served, ()) = tokio::join!(public, admin.serve(internal, shutdown.clone()));
    stores.close().await;
    telemetry.shutdown().await;
    served
}

/// Takes over what the configuration says each time that it changes.
async fn follow_configuration(upstreams: Upstreams, mut newest: Newest<Config>) {
    while newest.changed().await.is_ok() {
        let Some(change) = newest.borrow_and_update().clone() else { continue };
        match upstreams.reconfigure(&change.config.upstream, &change.config.discovery).await {
            Ok(()) => change.taken(),
            Err(error) => change.refused([error.to_string()]),
        }
    }
}

/// Serves while no other process of this cache does. What is kept, and what is known of leases, begins with the lock.
async fn serve_alone(
    config: &Config,
    workers: &Workers,
    shutdown: &Shutdown,
    health: &Health,
    upstreams: &Upstreams,
    mesh: &MeshClient,
    stores: &Stores,
) -> Result<()> {
    let mut lock = tokio::select! {
        lock = DataLock::acquire(&config.data_dir) => lock?,
        () = shutdown.begun() => return Ok(()),
    };
    let limits = config.limits();
    let engine = engine(limits);
    let replica = replica(config, &engine).await?;
    let second_level = second_level(config, &engine, health)?;
    let public = grpc_server(config, health, &replica, upstreams, mesh, stores, shutdown)?;
    follow_records(health, &stores.idempotency).await;
    let listener = Listener::bind(&config.listen).await?.on(workers);
    let (upstreams, namespaces) = (config.upstream.len(), config.namespace.len());
    tracing::info!(listen = %listener.address(), upstreams, namespaces, "listening");
    let readers = outbox::readers(&config.outbox, &config.node, &replica);
    keep_from(limits.first_lease_time, health);
    health.obtained(DATA_LOCK);
    tokio::select! {
        () = listener.serve(public, shutdown.clone()) => {}
        // Nothing is drained: every further answer could be one that the other cache has invalidated.
        lost = lock.lost() => return Err(lost.into()),
        () = Box::pin(log::follow(&engine, &replica, &config.log, health)) => {}
        () = Box::pin(outbox::follow(&readers)) => {}
        () = second_level => {}
    }
    outbox::release(&readers).await;
    if config.log.url.is_some() {
        log::leave(&engine, &replica).await;
    }
    Ok(())
}

/// The engine before its log: in memory, or shared.
async fn replica(config: &Config, engine: &LiveEngine) -> Result<LiveReplica> {
    let Some(url) = &config.log.url else { return Ok(alone(config, engine)) };
    if config.consistency.token_key_file.is_none() {
        tracing::warn!(
            "replicas that share a log can't judge each other's consistency tokens, so that reads that pass them are loads: give them \
             all one `consistency.token_key_file`"
        );
    }
    let (lease, senders) = (config.log.lease, config.engine.max_senders);
    let opening = PostgresLog::open(url, lease, senders).await;
    let log = opening.context("the invalidation log can't be opened; check `log.url`")?;
    Ok(Replica::sharing(engine.clone(), Log::Postgres(log), Uuid::new_v4().as_u128(), lease))
}

/// Lets the engine look into the second level, where one is configured: what has to run meanwhile.
fn second_level(config: &Config, engine: &LiveEngine, health: &Health) -> Result<impl Future<Output = ()> + use<>> {
    let store = SharedStore::new(&config.second_level, &config.consistency)?;
    if let Some(store) = &store {
        health.follow_service(SECOND_LEVEL, store.is_up());
        engine.use_second_level(Arc::new(store.clone()));
    }
    Ok(async move {
        match store {
            Some(store) => store.keep().await,
            None => std::future::pending().await,
        }
    })
}

/// The engine of a process that is alone.
pub fn alone(config: &Config, engine: &LiveEngine) -> LiveReplica {
    let incarnation = Uuid::new_v4().as_u128();
    let log = InProcessLog::new(Live, incarnation, config.engine.max_senders);
    Replica::alone(engine.clone(), Log::InProcess(log), incarnation)
}

/// Ready once answers are kept: until then a cache answers, and each read is a load.
fn keep_from(first_lease_time: Duration, health: &Health) {
    health.require(LEASES_OVER);
    let health = health.clone();
    tokio::spawn(async move {
        tokio::time::sleep(first_lease_time).await;
        health.obtained(LEASES_OVER);
    });
}

/// An empty engine within these bounds.
pub fn engine(limits: Limits) -> LiveEngine {
    let metrics = Metrics::new(&telemetry::meter());
    let removals = metrics.clone();
    let store = MemoryStore::new(limits.capacity, move |cause| removals.removed(cause));
    let engine = Engine::new(Loader, store, Live, limits, metrics);
    engine.observe(&telemetry::meter());
    engine
}

/// The services on one port, for whom `auth` lets in.
pub fn grpc_server<A: Decider + Passports>(
    config: &Config,
    health: &Health,
    replica: &LiveReplica,
    upstreams: &Upstreams,
    auth: &A,
    stores: &Stores,
    shutdown: &Shutdown,
) -> Result<GuardedServer<A>> {
    let engine = replica.engine();
    let tokens = ConsistencyTokens::new(&config.consistency)?;
    let read = ReadThrough {
        replica: replica.clone(),
        tokens: tokens.clone(),
        plans: Plans::new(config.engine.max_plans),
        upstreams: upstreams.clone(),
        passports: auth.clone(),
        node: config.node.clone(),
        checker: Checker::new(&config.checker, &telemetry::meter()),
    };
    let namespaces = NamespaceService {
        replicated: Replicated::new(replica.clone()),
        namespaces: Namespaces::new(engine, &config.namespace, upstreams, stores.keys.as_ref())?,
        auth: auth.clone(),
        audience: config.auth.client_id.clone(),
        version_prefix: format!("{:016x}-", Uuid::new_v4().as_u64_pair().0),
        tokens: tokens.clone(),
        node: config.node.clone(),
        records: stores.idempotency.clone(),
        shutdown: shutdown.clone(),
    };
    let invalidation = Invalidation::new(replica.clone(), tokens);
    let idempotency = Idempotency { records: stores.idempotency.clone() };
    let contract = Arc::new(guard::contract(FILE_DESCRIPTOR_SET, SERVICES)?);
    let guard = Guard::new(&contract, auth.clone()).accept_passports(&config.auth.client_id);
    let server = GrpcServer::new(health, guard)
        .descriptors(FILE_DESCRIPTOR_SET, SERVICES)
        .declared(move |method| contract.declared_deadline(method))
        .service(ReadThroughServiceServer::new(read).max_decoding_message_size(LARGEST))
        .service(CacheServiceServer::new(namespaces))
        .service(InvalidationServiceServer::new(invalidation))
        .service(IdempotencyServiceServer::new(idempotency).max_decoding_message_size(LARGEST));
    Ok(server.into_service()?)
}

/// Where the records do not answer, only their own service is unable to serve: reads and invalidations have no need of them.
async fn follow_records(health: &Health, records: &Records) {
    let records = records.clone();
    let ask = move || {
        let records = records.clone();
        async move { records.reachable().await }
    };
    health.follow_service(IDEMPOTENCY, probe::every(PROBES, ask).await);
}

async fn sweep(records: Records, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // In small steps, so that no caller waits long behind one of them.
        while let Ok(1..) = records.sweep(SystemTime::now()).await {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Request;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_server::Health as _};

    #[tokio::test]
    async fn store_that_is_down_fails_calls_with_a_key_and_no_reads() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(&format!("sqlite://{}/records.db", folder.path().display())).await.unwrap();
        let health = Health::new();
        for service in SERVICES {
            health.set_service(service, true);
        }
        records.close().await;
        follow_records(&health, &records).await;
        let serves = async |service: &str| {
            let request = Request::new(HealthCheckRequest { service: service.to_owned() });
            health.check(request).await.unwrap().into_inner().status() == ServingStatus::Serving
        };
        assert!(serves("").await && serves("accord.cache.v1.ReadThroughService").await);
        assert!(!serves(IDEMPOTENCY).await);
    }
}
