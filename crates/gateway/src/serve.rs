//! From a configuration to a running gateway.

mod reload;

use crate::{
    admit::ListenerKind,
    cache_reads::CacheReads,
    call::Gateway,
    call_samples::CallSamples,
    concurrency_limit::ConcurrencyLimit,
    config::Config,
    console::{ConsoleServer, WithConsole},
    explain::Explain,
    forgery_limit::ForgeryLimiter,
    idempotency::IdempotencyRecords,
    inspect::{Inspection, openapi::OpenApi},
    invalidate::Invalidator,
    listener_service::ListenerService,
    live::LiveSettings,
    memory::MemoryBudget,
    near::NearCache,
    protocol::{Compression, KeepAlive, WebSockets},
    rate_limit::SharedLimits,
    read_through::ReadThrough,
    table::{self, MethodTable, Sources, Tables},
};
use accord_api::{
    FILE_DESCRIPTOR_SET,
    accord::gateway::v1::{console_service_server::ConsoleServiceServer, explain_service_server::ExplainServiceServer},
};
use accord_contract::MethodKind;
use accord_mesh::{
    MeshClient,
    guard::{self, Guard, GuardedServer},
};
use accord_runtime::{
    admin,
    cli::Newest,
    deadline::Deadline,
    grpc_server::GrpcServer,
    health::Health,
    observe::Observe,
    panic::Catch,
    server::{ListenError, Listener},
    shutdown::Shutdown,
    telemetry::{self, Telemetry},
    workers::Workers,
};
use accord_upstream::{Client, DnsConfig, Upstream, UpstreamConfig};
use anyhow::Context;
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// The services of the admin port, as reflection and health list them.
const SERVICES: &[&str] = &["accord.gateway.v1.ConsoleService", "accord.gateway.v1.ExplainService"];

/// By this name gRPC health says whether the server of shared limits can be asked.
const SHARED_LIMITS: &str = "shared_limits";

/// Serves until a signal, then drains.
pub async fn serve(config: Config, newest: Newest<Config>, workers: &Workers) -> anyhow::Result<()> {
    let telemetry = telemetry::init("accord-gateway", &config.telemetry)?;
    let shutdown = Shutdown::on_signals(config.grace)?;
    let health = Health::new();
    health.follow(&shutdown);

    let public_listener = Listener::bind(&config.listen).await?.on(workers);
    let public_listener = public_listener.identifying_clients(config.client_certificates.identity);
    let admin_listener = Listener::bind(&config.admin).await?;
    let internal_listener = internal_listener(&config, workers).await?;
    // Calls of the public listener may still have to call their neighbours: the internal listener drains after that, within
    // one grace, and until then what is known of revocations is kept fresh.
    let internal_shutdown = shutdown.later();
    let gateway = build(&config, &shutdown, &internal_shutdown).await?;
    follow_dependencies(&health, &gateway);
    let openapi = OpenApi::new(&gateway.tables, &config.openapi, config.identifies_clients());
    let inspection = Inspection::open(&gateway.tables, &health, config.reflection.enabled, openapi, &shutdown);
    let cache_reads = Arc::new(CacheReads::new());
    let service = |listener, keep_alive| service(listener, &gateway, &inspection, &cache_reads, keep_alive);
    let public_service = || service(ListenerKind::Public, KeepAlive::of(&config.listen));
    let admin = operate(&gateway, &telemetry, &health)?;
    table::spawn(&shutdown, reload::follow(Arc::clone(&gateway), Arc::clone(&inspection), newest));
    let admin = WithConsole::new(admin, &config.console, &gateway.mesh, public_service);

    let internal = internal_listener.as_ref().map(|(internal, _)| internal.address());
    log_start([Some(public_listener.address()), Some(admin_listener.address()), internal], &gateway.tables.load());
    let public = async {
        public_listener.serve(public_service(), shutdown.clone()).await;
        internal_shutdown.begin();
    };
    let internal = async {
        if let Some((listener, keep_alive)) = internal_listener {
            listener.serve(service(ListenerKind::Internal, keep_alive), internal_shutdown.clone()).await;
        }
    };
    let end = async {
        shutdown.begun().await;
        Deadline::after(shutdown.grace())
    };
    let ((), (), (), end) = tokio::join!(public, internal, admin_listener.serve(admin, shutdown.clone()), end);
    gateway.finish(end).await;
    telemetry.shutdown().await;
    Ok(())
}

/// Says where it serves, publicly, on the admin port and internally, and what.
fn log_start([listen, admin, internal]: [Option<SocketAddr>; 3], table: &MethodTable) {
    let [listen, admin, internal] = [listen, admin, internal].map(|address| address.map(tracing::field::display));
    let (upstreams, bindings) = (table.upstreams().len(), table.bindings());
    let (methods, denied, pending) = (table.len(), table.denied(), table.pending().len());
    tracing::info!(listen, admin, internal, upstreams, methods, bindings, denied, pending, "listening");
}

/// The listener by which services call each other, where there is one.
async fn internal_listener(config: &Config, workers: &Workers) -> Result<Option<(Listener, KeepAlive)>, ListenError> {
    let Some(listen) = config.internal.clone().given() else { return Ok(None) };
    let listener = Listener::bind(&listen).await?.on(workers);
    Ok(Some((listener.identifying_clients(config.client_certificates.identity), KeepAlive::of(&listen))))
}

/// Shows in health what the gateway itself calls.
fn follow_dependencies(health: &Health, gateway: &Gateway) {
    // Without auth only public methods are let in, and all others refused with the reason: the gateway stays ready, and its
    // services show that they don't serve.
    health.follow_dependency("auth", gateway.mesh.readiness());
    // Calls are counted without it as well, so it is no dependency of theirs.
    if let Some(shared_limits) = &gateway.shared_limits {
        health.set_service(SHARED_LIMITS, false);
        health.follow_service(SHARED_LIMITS, shared_limits.is_up());
    }
}

/// What answers by a listener.
fn service(
    listener: ListenerKind,
    gateway: &Arc<Gateway>,
    inspection: &Arc<Inspection>,
    cache_reads: &Arc<CacheReads>,
    keep_alive: KeepAlive,
) -> WebSockets<Observe<Catch<ListenerService>>> {
    let service = ListenerService::new(listener, gateway, inspection);
    // Named by the path of a request it does not know: the gateway says the name once it has found the method.
    let observed = Observe::new(Catch::new(service), Arc::new(|_: &str| None)).listener(listener.name());
    let (cache_reads, tables, samples) =
        (Arc::clone(cache_reads), Arc::clone(&gateway.tables), Arc::clone(&gateway.samples));
    let observed = observed.on_end(Arc::new(move |ended| {
        cache_reads.count(ended.record);
        samples.ended(ended, |name| is_unary(&tables, name));
    }));
    // Pages of other origins have no business where services call each other.
    let cors = (listener == ListenerKind::Public).then(|| Arc::clone(&gateway.live.cors));
    WebSockets::new(observed, cors, keep_alive)
}

/// Whether a method answers at once. Whoever calls what nobody knows is answered at once as well.
fn is_unary(tables: &Tables, method: &str) -> bool {
    tables.load().contract().method(method).is_none_or(|method| method.kind == MethodKind::Unary)
}

async fn build(config: &Config, shutdown: &Shutdown, mesh_shutdown: &Shutdown) -> anyhow::Result<Arc<Gateway>> {
    let upstreams = Upstream::all(&config.upstream, &config.discovery)?;
    let sources = Sources::gather(config, &upstreams).await?;
    let tables = Tables::open(&Arc::new(config.clone()), sources, &upstreams)?;
    table::follow(&tables, shutdown);
    let dns = &config.discovery.dns;
    let mesh = MeshClient::join_by(&config.auth, dns, mesh_shutdown.clone())?;
    let cache = |kind| cache(config.cache.upstream(kind, config.limits.max_in_flight), dns);
    let (reads, invalidations, records) = (cache("cache")?, cache("cache.invalidation")?, cache("cache.idempotency")?);
    let caches = [&reads, &invalidations, &records].into_iter().flatten().cloned().collect();
    if let Some(reads) = &reads {
        table::spawn(shutdown, Arc::clone(reads).keep_checking_health());
    }
    let near = reads.as_ref().map(|_| Arc::new(NearCache::new(config.near.max_bytes)));
    let invalidator = invalidations
        .zip(near.clone())
        .map(|(upstream, near)| Invalidator::start(Client::new(upstream), near, mesh.clone()));
    let max_bypassed = config.cache.max_bypassed;
    let read_through =
        |((upstream, invalidator), near)| ReadThrough::new(upstream, invalidator, near, mesh.clone(), max_bypassed);
    Ok(Arc::new(Gateway {
        tables,
        live: LiveSettings::of(config),
        compression: Compression::new(&config.compression),
        samples: Arc::new(CallSamples::new(config.console.slow_call)),
        concurrency_limit: ConcurrencyLimit::new(config.limits.max_in_flight, config.limits.max_share),
        forgeries: ForgeryLimiter::new(),
        memory: MemoryBudget::new(config.limits.max_memory, config.limits.max_share),
        read_through: reads.zip(invalidator.clone()).zip(near.clone()).map(read_through),
        shared_limits: SharedLimits::start(&config.shared_limits, mesh_shutdown).context(SHARED)?,
        near,
        caches,
        invalidator,
        idempotency: records.map(|upstream| IdempotencyRecords::new(Client::new(upstream), mesh.clone())),
        mesh,
    }))
}

const SHARED: &str = "rate limits can't be shared as the section `shared_limits` says";
const CACHE: &str = "the cache can't be called as the section `cache` says";

/// The cache, for one kind of calls.
fn cache(config: Option<UpstreamConfig>, dns: &DnsConfig) -> anyhow::Result<Option<Arc<Upstream>>> {
    config.map(|config| Upstream::resolved_by(&config, dns)).transpose().context(CACHE)
}

/// The admin port: metrics, health, and what the contract says.
fn operate(gateway: &Gateway, telemetry: &Telemetry, health: &Health) -> anyhow::Result<GuardedServer<MeshClient>> {
    let explain = Explain::new(Arc::clone(&gateway.tables));
    let console = ConsoleServer {
        tables: Arc::clone(&gateway.tables),
        cache: gateway.read_through.as_ref().map(|cache| Arc::clone(cache.upstream())),
        auth: Arc::clone(gateway.mesh.auth().upstream()),
        samples: Arc::clone(&gateway.samples),
        telemetry: telemetry.clone(),
    };
    let contract = Arc::new(guard::contract(FILE_DESCRIPTOR_SET, SERVICES)?);
    let server = GrpcServer::new(health, Guard::new(&contract, gateway.mesh.clone()))
        .descriptors(FILE_DESCRIPTOR_SET, SERVICES)
        .declared(move |method| contract.declared_deadline(method))
        .service(ExplainServiceServer::new(explain))
        .service(ConsoleServiceServer::new(console))
        .deadline(Duration::from_secs(5), Duration::from_secs(30));
    Ok(admin::service(server, telemetry, health)?)
}
