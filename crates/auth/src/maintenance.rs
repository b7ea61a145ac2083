//! What goes on beside the calls: the state is refreshed, health follows the store, verifiers hear of changed policies, devices
//! that wait are counted, and what has expired is purged.

use std::{future, sync::Arc, time::Duration};

use accord_runtime::{health::Health, probe, shutdown::Shutdown};
use accord_token::{claims::LEEWAY, verify};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    domain::auth::Auth,
    store::{StoreError, within},
};

/// How often the store is asked for changes that another process made. Questions of verifiers are not answered from what
/// was read then; this only bounds how late unasked updates are.
const POLL: Duration = Duration::from_millis(200);

/// How often the devices that wait are counted, where there may be any.
const COUNT: Duration = Duration::from_secs(5);

/// How often what has expired is purged.
const PURGE: Duration = Duration::from_mins(1);

/// How long a request of an administrator is remembered by its key, in seconds.
const IDEMPOTENCY_RETENTION: i64 = 24 * 3600;

/// How long a code of a device is kept after its end, in seconds: until then its device is told that it has ended.
const DEVICE_CODE_RETENTION: i64 = 300;

/// As health and metrics name it.
const STORE: &str = "store";

/// Until shutdown.
pub async fn run(auth: Arc<Auth>, health: Health, shutdown: Shutdown) {
    refresh_state(&auth, &health).await;
    tokio::select! {
        () = purge(&auth) => {}
        () = announce_policies(&auth) => {}
        () = count_devices(&auth) => {}
        () = shutdown.begun() => {}
    }
}

/// The probe that asks whether the store answers is also the one that brings its changes.
async fn refresh_state(auth: &Arc<Auth>, health: &Health) {
    let (asking, ready) = (Arc::clone(auth), health.clone());
    let ask = move || {
        let (auth, health) = (Arc::clone(&asking), ready.clone());
        async move {
            let answered = auth.state.current().await;
            if let Err(error) = &answered
                && !health.down().iter().any(|dependency| dependency == STORE)
            {
                tracing::error!(%error, "everything is refused until the store answers");
            }
            answered.is_ok()
        }
    };
    health.follow_dependency(STORE, probe::every(POLL, ask).await);
}

/// Verifiers remember decisions by the policy set that made them, so they have to hear of another one.
async fn announce_policies(auth: &Auth) {
    let mut versions = auth.policies.versions();
    while versions.changed().await.is_ok() {
        for warning in auth.policies.get().warnings() {
            tracing::warn!("{warning}");
        }
        auth.state.notify();
    }
}

/// In the store, for all replicas. While it does not answer, the last count stands.
async fn count_devices(auth: &Auth) {
    if auth.oauth.device.clients.is_empty() {
        return future::pending().await;
    }
    let mut ticks = interval(COUNT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Ok((pending, _)) = within(COUNT, auth.store.pending_codes("", verify::now())).await {
            auth.metrics.pending_devices(pending);
        }
    }
}

async fn purge(auth: &Auth) {
    let mut ticks = interval(PURGE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = within(PURGE, purge_expired(auth)).await {
            tracing::warn!(%error, "purging expired records failed, retrying in a minute");
        }
    }
}

async fn purge_expired(auth: &Auth) -> Result<(), StoreError> {
    let now = verify::now();
    auth.store.destroy_retired_keys(now).await?;
    auth.store.purge_admin_requests(now - IDEMPOTENCY_RETENTION).await?;
    // An assertion is accepted until its end by the slowest clock.
    auth.store.purge_client_keys(now - 2 * i64::try_from(LEEWAY.as_secs()).unwrap_or(0)).await?;
    auth.store.purge_device_codes(now - DEVICE_CODE_RETENTION).await?;
    // Kept for an hour after their end: verifiers' clocks may lag.
    auth.store.purge_expired(now - 3600).await
}
