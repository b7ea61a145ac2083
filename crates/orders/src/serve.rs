//! From a configuration to a service that ends in order.

use std::time::Duration;

use accord_api::{FILE_DESCRIPTOR_SET, orders::v1::order_service_server::OrderServiceServer};
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

use crate::{config::Config, neighbours::Gateway, service::Orders, store::Store};

/// The services, as reflection and health list them.
const SERVICES: &[&str] = &["orders.v1.OrderService"];

/// The name under which the gateway knows this service.
const AUDIENCE: &str = "orders";

/// Between two questions whether the store answers.
const PROBES: Duration = Duration::from_millis(200);

/// Serves until a signal to stop, then until the calls in flight have ended.
pub(crate) async fn serve(config: Config, workers: &Workers) -> Result<()> {
    let telemetry = telemetry::init("accord-orders", &config.telemetry)?;
    let shutdown = Shutdown::on_signals(config.grace)?;
    let health = Health::new();
    health.follow(&shutdown);

    let store = Store::open(&config.store).await.with_context(|| format!("can't open {}", config.store.display()))?;
    let mesh = MeshClient::join(&config.auth, shutdown.clone())?;
    follow(&mesh, &store, &health).await;
    let gateway = Gateway::new(&config.gateway.endpoint, mesh.clone())?;
    let public = public(&health, Orders::new(store.clone(), gateway), PassportGuard::new(Some(mesh), AUDIENCE))?;
    let internal = admin::service(GrpcServer::new(&health, Unguarded::new()), &telemetry, &health)?;

    let listener = Listener::bind(&config.listen).await?.on(workers);
    let admin = Listener::bind(&config.admin).await?;
    tracing::info!(listen = %listener.address(), admin = %admin.address(), "listening");
    tokio::join!(listener.serve(public, shutdown.clone()), admin.serve(internal, shutdown));
    store.close().await;
    telemetry.shutdown().await;
    Ok(())
}

fn public(health: &Health, orders: Orders, guard: PassportGuard) -> Result<GrpcService<Routes>> {
    let contract = Contract::own(&[(FILE_DESCRIPTOR_SET, SERVICES)], &[])?;
    let server = GrpcServer::new(health, Unguarded::new())
        .descriptors(FILE_DESCRIPTOR_SET, SERVICES)
        .declared(move |method| contract.declared_deadline(method))
        .service(OrderServiceServer::with_interceptor(orders, guard));
    Ok(server.into_service()?)
}

/// Without its store the service can serve nothing, nor where no passport can be verified yet. Its neighbours are another
/// matter: that they are down, a call learns with its reason.
async fn follow(mesh: &MeshClient, store: &Store, health: &Health) {
    health.follow_dependency("auth", mesh.readiness());
    let store = store.clone();
    let ask = move || {
        let store = store.clone();
        async move { store.reachable().await }
    };
    health.follow_dependency("store", probe::every(PROBES, ask).await);
}
