//! Serves until shutdown.

use std::{sync::Arc, time::Duration};

use accord_api::{
    FILE_DESCRIPTOR_SET,
    accord::auth::v1::{
        access_service_server::AccessServiceServer, account_service_server::AccountServiceServer,
        admin_service_server::AdminServiceServer, key_service_server::KeyServiceServer,
        relation_service_server::RelationServiceServer, revocation_service_server::RevocationServiceServer,
        token_service_server::TokenServiceServer,
    },
};
use accord_mesh::guard::{self, Guard, GuardedServer};
use accord_runtime::{
    admin, grpc_server::GrpcServer, health::Health, server::Listener, shutdown::Shutdown, telemetry, workers::Workers,
};

use crate::{
    client_secrets,
    config::Config,
    domain::auth::Auth,
    ext_authz, maintenance, oauth,
    service::{
        access::Access,
        account::Accounts,
        admin::{Administration, AuditStreams},
        guard::LocalDecider,
        key::Keys,
        relation::Relations,
        revocation::Revocations,
        token::Tokens,
    },
};

/// The services, as reflection and health list them.
const SERVICES: &[&str] = &[
    "accord.auth.v1.TokenService",
    "accord.auth.v1.AccessService",
    "accord.auth.v1.KeyService",
    "accord.auth.v1.AdminService",
    "accord.auth.v1.AccountService",
    "accord.auth.v1.RelationService",
    "accord.auth.v1.RevocationService",
];

/// The services that a gateway may front.
const FRONTED: &[&str] =
    &["accord.auth.v1.AdminService", "accord.auth.v1.KeyService", "accord.auth.v1.RelationService"];

/// The name of auth's `[[upstream]]` at a gateway that serves them.
const AUDIENCE: &str = "auth";

/// How long a call may take whose contract says nothing about it: the contract's own defaults.
const DEADLINE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));

/// Serves until SIGTERM or SIGINT, then drains.
pub async fn serve(config: Config, workers: &Workers) -> anyhow::Result<()> {
    let telemetry = telemetry::init("accord-auth", &config.telemetry)?;
    let shutdown = Shutdown::on_signals(config.grace)?;
    let health = Health::new();
    health.follow(&shutdown);
    let auth = Arc::new(Auth::open(&config).await?);
    for warning in auth.policies.get().warnings() {
        tracing::warn!("{warning}");
    }
    tokio::spawn(maintenance::run(Arc::clone(&auth), health.clone(), shutdown.clone()));
    tokio::spawn(client_secrets::run(Arc::clone(&auth), config.clients.clone(), shutdown.clone()));
    let listener = Listener::bind(&config.listen).await?.on(workers);
    let admin_listener = Listener::bind(&config.admin).await?;
    let ext_authz_listener = match config.ext_authz.listen.clone().given() {
        Some(listen) => Some(Listener::bind(&listen).await?.on(workers)),
        None => None,
    };
    let (address, admin_address) = (listener.address(), admin_listener.address());
    let (policies, keys) = (config.policy.files.len(), auth.state.current().await?.published.len());
    let ext_authz_address = ext_authz_listener.as_ref().map(|listener| tracing::field::display(listener.address()));
    tracing::info!(listen = %address, admin = %admin_address, ext_authz = ext_authz_address, policies, keys, "listening");
    let built_in_only = Arc::new(guard::contract(FILE_DESCRIPTOR_SET, &[])?);
    let guard = Guard::new(&built_in_only, LocalDecider(Arc::clone(&auth)));
    let operations = admin::service(GrpcServer::new(&health, guard), &telemetry, &health)?;
    let ext_authz = async {
        if let Some(listener) = ext_authz_listener {
            let server = ext_authz::server(&config.ext_authz, &auth, &health)?;
            listener.serve(server, shutdown.clone()).await;
        }
        anyhow::Ok(())
    };
    let ((), (), served) = tokio::join!(
        listener.serve(grpc_server(&auth, &health, &shutdown)?, shutdown.clone()),
        admin_listener.serve(operations, shutdown.clone()),
        ext_authz,
    );
    served?;
    auth.store.close().await;
    telemetry.shutdown().await;
    Ok(())
}

/// The public port: all services with what every server carries.
pub fn grpc_server(
    auth: &Arc<Auth>,
    health: &Health,
    shutdown: &Shutdown,
) -> anyhow::Result<GuardedServer<LocalDecider>> {
    let contract = Arc::new(guard::contract(FILE_DESCRIPTOR_SET, SERVICES)?);
    // The gateway calls in the name of whoever calls it with a passport for the upstream of this name.
    let guard = Guard::new(&contract, LocalDecider(Arc::clone(auth))).accept_passports_at(FRONTED, AUDIENCE);
    let administration = Administration(Arc::clone(auth), AuditStreams::new(shutdown.clone()));
    let revocations = Revocations { auth: Arc::clone(auth), shutdown: shutdown.clone() };
    let server = GrpcServer::new(health, guard)
        .descriptors(FILE_DESCRIPTOR_SET, SERVICES)
        .declared(move |method| contract.declared_deadline(method))
        .http(oauth::PATHS, oauth::router(auth))
        .service(TokenServiceServer::new(Tokens(Arc::clone(auth))))
        .service(AccessServiceServer::new(Access(Arc::clone(auth))))
        .service(KeyServiceServer::new(Keys(Arc::clone(auth))))
        .service(AdminServiceServer::new(administration))
        .service(AccountServiceServer::new(Accounts(Arc::clone(auth))))
        .service(RelationServiceServer::new(Relations(Arc::clone(auth))))
        .service(RevocationServiceServer::new(revocations))
        .deadline(DEADLINE.0, DEADLINE.1);
    Ok(server.into_service()?)
}
