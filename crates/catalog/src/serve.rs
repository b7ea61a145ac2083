//! From a configuration to a service that ends in order.

use std::time::Duration;

use accord_api::{FILE_DESCRIPTOR_SET, catalog::v1::product_service_server::ProductServiceServer};
use accord_contract::Contract;
use accord_mesh::{MeshClient, PassportGuard};
use accord_runtime::{
    admin,
    grpc_server::{GrpcServer, GrpcService, Unguarded},
    health::Health,
    probe,
    server::Listener,
    shutdown::Shutdown,
    telemetry,
    workers::Workers,
};
use anyhow::{Context, Result};
use tonic::service::Routes;

use crate::{config::Config, service::Products, store::Store};

/// The services, as reflection and health list them.
const SERVICES: &[&str] = &["catalog.v1.ProductService"];

/// The name under which the gateway knows this service.
const AUDIENCE: &str = "catalog";

/// Between two questions whether the store answers.
const PROBES: Duration = Duration::from_millis(200);

/// Serves until a signal to stop, then until the calls in flight have ended.
pub(crate) async fn serve(config: Config, workers: &Workers) -> Result<()> {
    let telemetry = telemetry::init("accord-catalog", &config.telemetry)?;
    let shutdown = Shutdown::on_signals(config.grace)?;
    let health = Health::new();
    health.follow(&shutdown);

    let store = Store::open(&config.store).await.with_context(|| format!("can't open {}", config.store.display()))?;
    let mesh = config.auth.as_ref().map(|auth| MeshClient::join(auth, shutdown.clone())).transpose()?;
    follow(mesh.as_ref(), &store, &health).await;
    let public = public(&health, Products::new(store.clone(), shutdown.clone()), PassportGuard::new(mesh, AUDIENCE))?;
    let internal = admin::service(GrpcServer::new(&health, Unguarded::new()), &telemetry, &health)?;

    let listener = Listener::bind(&config.listen).await?.on(workers);
    let admin = Listener::bind(&config.admin).await?;
    tracing::info!(listen = %listener.address(), admin = %admin.address(), "listening");
    tokio::join!(listener.serve(public, shutdown.clone()), admin.serve(internal, shutdown));
    store.close().await;
    telemetry.shutdown().await;
    Ok(())
}

fn public(health: &Health, products: Products, guard: PassportGuard) -> Result<GrpcService<Routes>> {
    let service = ProductServiceServer::with_interceptor(products, guard);
    let contract = Contract::own(&[(FILE_DESCRIPTOR_SET, SERVICES)], &[])?;
    // The gateway has asked who may; the interceptor asks for the passport that shows it.
    let server = GrpcServer::new(health, Unguarded::new())
        .descriptors(FILE_DESCRIPTOR_SET, SERVICES)
        .declared(move |method| contract.declared_deadline(method))
        .service(service);
    Ok(server.into_service()?)
}

/// Without its store the catalog's service does not serve, nor where passports are asked for and none can be verified yet.
async fn follow(mesh: Option<&MeshClient>, store: &Store, health: &Health) {
    if let Some(mesh) = mesh {
        health.follow_dependency("auth", mesh.readiness());
    }
    let store = store.clone();
    let ask = move || {
        let store = store.clone();
        async move { store.reachable().await }
    };
    health.follow_dependency("store", probe::every(PROBES, ask).await);
}
