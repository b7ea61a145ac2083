//! From a configuration to a running gateway.

use crate::{
    call::Gateway,
    concurrency_limit::ConcurrencyLimit,
    config::{CacheConfig, Config},
    explain::Explain,
    idempotency::IdempotencyRecords,
    inspect::Inspection,
    invalidate::Invalidator,
    public_service::PublicService,
    read_through::ReadThrough,
    table::{self, Sources, Tables},
};
use accord_api::{FILE_DESCRIPTOR_SET, accord::gateway::v1::explain_service_server::ExplainServiceServer};
use accord_mesh::{
    MeshClient,
    guard::{self, Guard, GuardedServer},
};
use accord_runtime::{
    admin,
    deadline::Deadline,
    grpc_server::GrpcServer,
    health::Health,
    observe::Observe,
    panic::Catch,
    server::Listener,
    shutdown::Shutdown,
    telemetry::{self, Telemetry},
};
use accord_upstream::{Client, Upstream};
use anyhow::Context;
use std::{sync::Arc, time::Duration};

/// The services of the internal port, as reflection and health list them.
const SERVICES: &[&str] = &["accord.gateway.v1.ExplainService"];

/// Serves until a signal, then drains.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::init("accord-gateway", &config.telemetry)?;
    let shutdown = Shutdown::on_signals(config.grace)?;
    let health = Health::new();
    health.follow(&shutdown);

    let public_listener = Listener::bind(&config.listen).await?;
    let inside = Listener::bind(&config.admin).await?;
    let gateway = build(&config, &shutdown).await?;
    // Without auth nothing can be let in, so the gateway is not ready then. An upstream or a cache that is down only takes its
    // own methods with it.
    health.follow_dependency("auth", gateway.mesh.readiness());
    let inspection = Inspection::open(&gateway.tables, &health, config.reflection.enabled, &shutdown);
    let admin = operate(&gateway, &telemetry, &health)?;

    let table = gateway.tables.load();
    let (upstreams, bindings) = (gateway.tables.upstreams().len(), table.bindings());
    let (methods, pending) = (table.len(), table.pending().len());
    let (address, admin_address) = (public_listener.address(), inside.address());
    tracing::info!(listen = %address, admin = %admin_address, upstreams, methods, bindings, pending, "listening");
    // Named by the path of a request it does not know: the gateway says the name once it has found the method.
    let public =
        Observe::new(Catch::new(PublicService::new(Arc::clone(&gateway), inspection)), Arc::new(|_: &str| None));
    let end = async {
        shutdown.begun().await;
        Deadline::after(shutdown.grace())
    };
    let ((), (), end) =
        tokio::join!(public_listener.serve(public, shutdown.clone()), inside.serve(admin, shutdown.clone()), end);
    gateway.finish(end).await;
    telemetry.shutdown().await;
    Ok(())
}

async fn build(config: &Config, shutdown: &Shutdown) -> anyhow::Result<Arc<Gateway>> {
    let upstreams = Upstream::all(&config.upstream)?;
    let sources = Sources::gather(config, &upstreams).await?;
    let tables = Tables::open(sources, upstreams)?;
    table::follow(&tables, config.clone(), shutdown);
    let mesh = MeshClient::join(&config.auth, shutdown.clone())?;
    let cache = |kind| cache(&config.cache, kind, config.limits.max_in_flight);
    let (reads, invalidations, records) = (cache("cache")?, cache("cache.invalidation")?, cache("cache.idempotency")?);
    if let Some(reads) = &reads {
        table::spawn(shutdown, Arc::clone(reads).keep_checking_health());
    }
    Ok(Arc::new(Gateway {
        tables,
        concurrency_limit: ConcurrencyLimit::new(config.limits.max_in_flight),
        read_through: reads.map(|upstream| ReadThrough::new(upstream, mesh.clone())),
        invalidator: invalidations.map(|upstream| Invalidator::start(Client::new(upstream), mesh.clone())),
        idempotency: records.map(|upstream| IdempotencyRecords::new(Client::new(upstream), mesh.clone())),
        mesh,
    }))
}

const CACHE: &str = "the cache can't be called as the section `cache` says";

/// The cache, for one kind of calls.
fn cache(config: &CacheConfig, kind: &str, max_in_flight: usize) -> anyhow::Result<Option<Arc<Upstream>>> {
    let Some(config) = config.upstream(kind, max_in_flight) else { return Ok(None) };
    Upstream::new(&config).map(Some).context(CACHE)
}

/// The internal port: metrics, health, and what the contract says.
fn operate(gateway: &Gateway, telemetry: &Telemetry, health: &Health) -> anyhow::Result<GuardedServer<MeshClient>> {
    let explain = Explain::new(Arc::clone(&gateway.tables));
    let contract = Arc::new(guard::contract(FILE_DESCRIPTOR_SET, SERVICES)?);
    let server = GrpcServer::new(health, Guard::new(&contract, gateway.mesh.clone()))
        .descriptors(FILE_DESCRIPTOR_SET, SERVICES)
        .declared(move |method| contract.declared_deadline(method))
        .service(ExplainServiceServer::new(explain))
        .deadline(Duration::from_secs(5), Duration::from_secs(30));
    Ok(admin::service(server, telemetry, health)?)
}
