//! Serves until shutdown.

use std::{sync::Arc, time::Duration};

use accord_api::{
    FILE_DESCRIPTOR_SET,
    accord::auth::v1::{
        access_service_server::AccessServiceServer, key_service_server::KeyServiceServer,
        revocation_service_server::RevocationServiceServer, token_service_server::TokenServiceServer,
    },
};
use accord_contract::Contract;
use accord_runtime::{
    admin,
    health::Health,
    probe,
    server::Listener,
    shutdown::Shutdown,
    surface::{Surface, SurfaceService},
    telemetry,
};
use accord_token::verify;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    auth::Auth,
    config::Config,
    service::{access::Access, key::Keys, revocation::Revocations, token::Tokens},
    store::{StoreError, within},
};

/// The services, as reflection and health list them.
const SERVICES: &[&str] = &[
    "accord.auth.v1.TokenService",
    "accord.auth.v1.AccessService",
    "accord.auth.v1.KeyService",
    "accord.auth.v1.RevocationService",
];

/// How long a call may take whose contract says nothing about it: the contract's own defaults.
const DEADLINE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));

/// How often the store is asked for changes that another process made. Questions of verifiers are not answered from what
/// was read then; this only bounds how late unasked news are.
const POLL: Duration = Duration::from_millis(200);

/// How often what has ended is cleared away.
const SWEEP: Duration = Duration::from_mins(1);

/// Serves until SIGTERM or SIGINT, then drains.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::init("accord-auth", &config.telemetry)?;
    let shutdown = Shutdown::on_signals(config.grace)?;
    let health = Health::new();
    health.follow(&shutdown);
    let auth = Arc::new(Auth::open(&config).await?);
    tokio::spawn(keep_true(Arc::clone(&auth), health.clone(), shutdown.clone()));
    let door = Listener::bind(&config.listen).await?;
    let operators = Listener::bind(&config.admin).await?;
    tracing::info!(listen = %door.address(), admin = %operators.address(), "serving");
    let inner = admin::service(Surface::new(&health), &telemetry, &health)?;
    tokio::join!(
        door.serve(surface(&auth, &health, &shutdown)?, shutdown.clone()),
        operators.serve(inner, shutdown.clone()),
    );
    auth.store.close().await;
    telemetry.shutdown().await;
    Ok(())
}

/// The door: all services with what every server carries.
pub fn surface(auth: &Arc<Auth>, health: &Health, shutdown: &Shutdown) -> anyhow::Result<SurfaceService> {
    let contract = Contract::own(FILE_DESCRIPTOR_SET, SERVICES)?;
    let revocations = Revocations { auth: Arc::clone(auth), shutdown: shutdown.clone() };
    let surface = Surface::new(health)
        .descriptors(FILE_DESCRIPTOR_SET, SERVICES)
        .declared(move |method| contract.declared_deadline(method))
        .service(TokenServiceServer::new(Tokens(Arc::clone(auth))))
        .service(AccessServiceServer::new(Access(Arc::clone(auth))))
        .service(KeyServiceServer::new(Keys(Arc::clone(auth))))
        .service(RevocationServiceServer::new(revocations))
        .deadline(DEADLINE.0, DEADLINE.1);
    Ok(surface.into_service()?)
}

/// Follows what other processes change in the store, tells health whether the store answers, and clears away what ended.
pub async fn keep_true(auth: Arc<Auth>, health: Health, shutdown: Shutdown) {
    follow(&auth, &health).await;
    tokio::select! {
        () = clear_away(&auth) => {}
        () = shutdown.begun() => {}
    }
}

/// The question whether the store answers is also the one that brings its news.
async fn follow(auth: &Arc<Auth>, health: &Health) {
    let (asking, ready) = (Arc::clone(auth), health.clone());
    let ask = move || {
        let (auth, health) = (Arc::clone(&asking), ready.clone());
        async move {
            let answered = auth.ledger.current().await;
            if let Err(error) = &answered
                && health.ready()
            {
                tracing::error!(%error, "everything is refused until the store answers");
            }
            answered.is_ok()
        }
    };
    health.follow_dependency("store", probe::every(POLL, ask).await);
}

async fn clear_away(auth: &Auth) {
    let mut sweeps = interval(SWEEP);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        sweeps.tick().await;
        if let Err(error) = within(SWEEP, sweep(auth)).await {
            tracing::warn!(%error, "what has ended is cleared away a minute later");
        }
    }
}

async fn sweep(auth: &Auth) -> Result<(), StoreError> {
    let now = verify::now();
    auth.store.destroy_retired_keys(now).await?;
    // Kept for an hour after their end: verifiers' clocks may lag.
    auth.store.forget_ended(now - 3600).await
}
