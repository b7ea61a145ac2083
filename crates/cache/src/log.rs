//! The invalidation log of this cache: in its own memory where it is alone, in PostgreSQL where replicas share it.

mod postgres;

use std::time::Duration;

use accord_readthrough::{
    Appended, Engine, InProcessLog, Invalidation, InvalidationLog, Live, LogError, MemoryStore, Replica, Verification,
    Verified,
};
use accord_runtime::health::Health;
use opentelemetry::KeyValue;
use tokio::sync::Notify;
use tokio::time::sleep;

pub use postgres::PostgresLog;

use crate::config::LogConfig;
use crate::declared_metrics::LOG_VERIFICATIONS;
use crate::origin::Loader;

/// The engine as it runs in production.
pub type LiveEngine = Engine<Loader, MemoryStore, Live>;

/// The replica as it runs in production.
pub type LiveReplica = Replica<Log, Loader, MemoryStore, Live>;

/// What the cache can't be without where it shares a log, in the words of its readiness.
const VERIFICATION: &str = "verification of the invalidation log";

/// Between two attempts where the log does not answer.
const RETRY: Duration = Duration::from_millis(50);

/// The log.
#[derive(Debug)]
pub enum Log {
    /// Of a process that is alone.
    InProcess(InProcessLog<Live>),
    /// Of several.
    Postgres(PostgresLog),
}

impl InvalidationLog for Log {
    async fn append(&self, batches: &[Invalidation]) -> Result<Appended, LogError> {
        match self {
            Self::InProcess(log) => log.append(batches).await,
            Self::Postgres(log) => log.append(batches).await,
        }
    }

    async fn verify(&self, verification: &Verification) -> Result<Verified, LogError> {
        match self {
            Self::InProcess(log) => log.verify(verification).await,
            Self::Postgres(log) => log.verify(verification).await,
        }
    }
}

/// Keeps a replica verified for as long as this is polled. Ready once its first lease time is over: until then each read is a load.
/// A process that is alone has nothing to do.
pub(crate) async fn follow(engine: &LiveEngine, replica: &LiveReplica, config: &LogConfig, health: &Health) {
    let Some(url) = &config.url else { return std::future::pending().await };
    health.require(VERIFICATION);
    let news = Notify::new();
    let ready = async {
        let mut changes = replica.changes();
        while !engine.is_verified() && changes.changed().await.is_ok() {}
        sleep(config.lease).await;
        health.obtained(VERIFICATION);
    };
    tokio::join!(postgres::listen(url, replica, &news), verify(engine, replica, &news), ready);
}

async fn verify(engine: &LiveEngine, replica: &LiveReplica, news: &Notify) {
    let verifications = LOG_VERIFICATIONS.counter(&accord_runtime::telemetry::meter());
    let mut has_failed = false;
    loop {
        let verified = replica.verify().await;
        let result = if verified.is_ok() { "ok" } else { "failed" };
        verifications.add(1, &[KeyValue::new("result", result)]);
        if let Err(error) = verified {
            if !std::mem::replace(&mut has_failed, true) {
                tracing::warn!(%error, "the invalidation log can't be verified: nothing is answered from memory until it can");
            }
            sleep(RETRY).await;
            continue;
        }
        has_failed = false;
        let due = replica.next_verification().since(engine.now());
        // Whichever comes first.
        tokio::select! {
            () = sleep(due) => {}
            () = news.notified() => {}
            () = replica.verification_wanted() => {}
        }
    }
}

/// Leaves the register, once what gateways keep by leases of this replica is over.
pub(crate) async fn leave(engine: &LiveEngine, replica: &LiveReplica) {
    sleep(replica.begin_to_leave().since(engine.now())).await;
    if let Err(error) = replica.depart().await {
        tracing::info!(%error, "the other replicas could not be told that this one ends: they find out within its lease");
    }
}
