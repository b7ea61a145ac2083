//! Keeping the snapshot up to date: changed files, SIGHUP, upstreams that come, restart or change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use accord_runtime::backoff::{self, Backoff};
use accord_runtime::reload::WatchedFiles;
use accord_runtime::shutdown::Shutdown;
use accord_upstream::{Client, HealthStatus, Upstream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::live::Tables;
use crate::config::Config;
use crate::reflect;

/// The shortest wait between two attempts to read the descriptors of an upstream that is there but doesn't answer with them.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
/// The longest wait between two such attempts.
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);
/// So that many gateways don't ask at the same moment.
const JITTER: f64 = 0.4;

/// Starts the tasks that keep the tables up to date, and the upstreams' health known, until shutdown.
pub(crate) fn follow(tables: &Arc<Tables>, config: Config, shutdown: &Shutdown) {
    for upstream in tables.upstreams() {
        for endpoints in upstream.with_versions() {
            spawn(shutdown, Arc::clone(endpoints).keep_checking_health());
        }
        let reflective = config.upstream.iter().any(|it| *it.name == **upstream.name() && it.descriptors.is_none());
        if reflective {
            let interval = config.contract.reflection_interval;
            spawn(shutdown, follow_reflection(Arc::clone(tables), Arc::clone(upstream), interval));
        }
    }
    spawn(shutdown, follow_files(Arc::clone(tables), config));
}

/// Runs a background task that has nothing to finish: shutdown ends it where it stands.
pub(crate) fn spawn(shutdown: &Shutdown, task: impl Future<Output = ()> + Send + 'static) {
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = task => {}
            () = shutdown.begun() => {}
        }
    });
}

/// Reads the files again when one of them changed or somebody asks for it by SIGHUP.
async fn follow_files(tables: Arc<Tables>, config: Config) {
    let mut watched = WatchedFiles::of(files(&config));
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::warn!("SIGHUP can't be listened for; a changed file is still noticed");
        return poll_files(&tables, &config, &mut watched).await;
    };
    loop {
        tokio::select! {
            // What changed until now is about to be read, so it is no reason to read it again.
            _ = hangup.recv() => watched.note(),
            () = watched.changed(config.contract.watch_interval) => {}
        }
        reload(&tables, &config).await;
    }
}

async fn poll_files(tables: &Arc<Tables>, config: &Config, watched: &mut WatchedFiles) {
    loop {
        watched.changed(config.contract.watch_interval).await;
        reload(tables, config).await;
    }
}

/// The files that the contract is read from.
fn files(config: &Config) -> impl Iterator<Item = PathBuf> {
    let descriptors = config.upstream.iter().filter_map(|upstream| upstream.descriptors.as_ref());
    descriptors.chain(&config.contract.overlays).cloned()
}

async fn reload(tables: &Arc<Tables>, config: &Config) {
    let (tables, config) = (Arc::clone(tables), config.clone());
    blocking(move || tables.reload_files(&config)).await;
}

/// A large contract takes its time to build, which must not be that of the calls that are being served.
async fn blocking(work: impl FnOnce() + Send + 'static) {
    if tokio::task::spawn_blocking(work).await.is_err() {
        tracing::error!("the reload of the contract panicked: the previous contract stays");
    }
}

/// Reads an upstream's reflection whenever the upstream comes, and now and then while it is there.
async fn follow_reflection(tables: Arc<Tables>, upstream: Arc<Upstream>, interval: Duration) {
    let mut health_status = upstream.watch();
    let mut backoff = Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF, JITTER);
    loop {
        if health_status.wait_for(|it| *it > HealthStatus::Unreachable).await.is_err() {
            return;
        }
        let pause = match read(&tables, &upstream).await {
            Ok(()) => {
                backoff.reset();
                backoff::jittered(interval, JITTER)
            }
            Err(error) => {
                tracing::warn!(upstream = %upstream.name(), %error, "the descriptors could not be read");
                backoff.next_wait()
            }
        };
        wait_for_change(&mut health_status, pause).await;
    }
}

async fn read(tables: &Arc<Tables>, upstream: &Arc<Upstream>) -> Result<(), reflect::ReflectError> {
    let descriptors = reflect::read(&Client::new(Arc::clone(upstream))).await?;
    let (tables, upstream) = (Arc::clone(tables), Arc::clone(upstream));
    blocking(move || tables.set_descriptors(upstream.name(), &descriptors)).await;
    Ok(())
}

/// Waits, but not longer than until something happened to the upstream: it may come back as another version.
async fn wait_for_change(health_status: &mut watch::Receiver<HealthStatus>, pause: Duration) {
    // The least pause, so that an upstream in trouble is not asked for its descriptors at the rate of its failures.
    tokio::time::sleep(FIRST_BACKOFF).await;
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        _ = health_status.changed() => {}
    }
}
