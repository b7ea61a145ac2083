//! What goes on beside the calls: the state is refreshed, health follows the store and so does its mark, verifiers hear of changed
//! policies, devices that wait are counted, and what has expired is purged.

use std::{future, sync::Arc, time::Duration};

use accord_runtime::{health::Health, probe, shutdown::Shutdown};
use accord_token::{claims::forgotten_before, verify};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    domain::auth::Auth,
    store::{StoreError, requests::IDEMPOTENCY_RETENTION, within},
};

/// How often the store is asked for changes that another process made. Questions of verifiers are not answered from what
/// was read then; this only bounds how late unasked updates are.
const POLL: Duration = Duration::from_millis(200);

/// How often the devices that wait are counted, where there may be any.
const COUNT: Duration = Duration::from_secs(5);

/// How often what has expired is purged.
const PURGE: Duration = Duration::from_mins(1);

/// How long a code of a device is kept after its end, in seconds: until then its device is told that it has ended.
const DEVICE_CODE_RETENTION: i64 = 300;

/// As health and metrics name it.
const STORE: &str = "store";

/// Until shutdown.
pub async fn run(auth: Arc<Auth>, health: Health, shutdown: Shutdown) {
    refresh_state(&auth, &health).await;
    tokio::select! {
        () = purge(&auth) => {}
        () = follow_mark(&auth) => {}
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

/// What other processes have acknowledged is in the mark as soon as it is known here; their own callers wait for none but theirs.
async fn follow_mark(auth: &Auth) {
    let mut revisions = auth.state.revisions();
    // What came between the opening of the store and this.
    revisions.mark_changed();
    while revisions.changed().await.is_ok() {
        if let Err(error) = auth.store.raise_mark().await {
            tracing::warn!(%error, "the mark of the store can't be raised, and is at the next change");
        }
    }
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
        if let Err(error) = within(PURGE, purge_expired(auth, verify::now())).await {
            tracing::warn!(%error, "purging expired records failed, retrying in a minute");
        }
    }
}

/// Deletes what has expired by this moment.
pub async fn purge_expired(auth: &Auth, now: i64) -> Result<(), StoreError> {
    auth.store.destroy_retired_keys(now).await?;
    auth.store.purge_admin_requests(now - IDEMPOTENCY_RETENTION).await?;
    auth.store.purge_device_codes(now - DEVICE_CODE_RETENTION).await?;
    // This clock may be ahead: what a right one still accepts must not become good again.
    auth.store.purge_client_keys(forgotten_before(now)).await?;
    auth.store.purge_expired(forgotten_before(now)).await
}
