//! Keeping the snapshot up to date: changed files, SIGHUP, upstreams that come, restart or change.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use accord_runtime::backoff::{self, Backoff};
use accord_runtime::shutdown::Shutdown;
use accord_upstream::{Client, HealthStatus, Upstream};
use futures_util::future::join_all;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::live::{Configured, Tables};
use crate::reflect;

/// The shortest wait between two attempts to read the descriptors of an upstream that is there but doesn't answer with them.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
/// The longest wait between two such attempts.
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);
/// So that many gateways don't ask at the same moment.
const JITTER: f64 = 0.4;

/// Starts the tasks that keep the tables up to date, and the upstreams' health known, until shutdown.
pub(crate) fn follow(tables: &Arc<Tables>, shutdown: &Shutdown) {
    spawn(shutdown, follow_upstreams(Arc::clone(tables)));
    spawn(shutdown, follow_files(Arc::clone(tables)));
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

/// Follows each upstream for as long as it is one.
async fn follow_upstreams(tables: Arc<Tables>) {
    let mut changed = tables.subscribe();
    let mut followed: Vec<(Arc<Upstream>, JoinSet<()>)> = Vec::new();
    loop {
        changed.mark_unchanged();
        let table = tables.load();
        let is_present =
            |upstream: &Arc<Upstream>| table.upstreams().iter().any(|present| Arc::ptr_eq(present, upstream));
        followed.retain(|(upstream, _)| is_present(upstream));
        for upstream in table.upstreams() {
            if !followed.iter().any(|(known, _)| Arc::ptr_eq(known, upstream)) {
                // A task that is dropped ends.
                let task = JoinSet::from_iter([follow_upstream(Arc::clone(&tables), Arc::clone(upstream))]);
                followed.push((Arc::clone(upstream), task));
            }
        }
        // What is no longer served must not be kept until the next change.
        drop(table);
        if changed.changed().await.is_err() {
            return;
        }
    }
}

async fn follow_upstream(tables: Arc<Tables>, upstream: Arc<Upstream>) {
    let checks = join_all(upstream.with_versions().cloned().map(Upstream::keep_checking_health));
    let is_reflected =
        tables.config().upstream.iter().any(|it| *it.name == **upstream.name() && it.descriptors.is_none());
    if is_reflected {
        tokio::join!(checks, follow_reflection(&tables, &upstream));
    } else {
        checks.await;
    }
}

/// Reads the files again when one of them changed or somebody asks for it by SIGHUP, and other files when the configuration names
/// others.
async fn follow_files(tables: Arc<Tables>) {
    let mut configured = tables.configured().subscribe();
    let mut hangup = signal(SignalKind::hangup()).ok();
    if hangup.is_none() {
        tracing::warn!("SIGHUP can't be listened for; a changed file is still noticed");
    }
    loop {
        let Configured { config, mut files } = configured.borrow_and_update().clone();
        while !configured.has_changed().unwrap_or(true) {
            tokio::select! {
                // What changed until now is about to be read, so it is no reason to read it again.
                () = hung_up(hangup.as_mut()) => files.note(),
                () = files.changed(config.contract.watch_interval) => {}
                changed = configured.changed() => match changed {
                    Ok(()) => break,
                    Err(_gone) => return,
                },
            }
            let tables = Arc::clone(&tables);
            blocking(move || tables.reload_files()).await;
        }
    }
}

async fn hung_up(hangup: Option<&mut Signal>) {
    match hangup {
        Some(hangup) => _ = hangup.recv().await,
        None => pending().await,
    }
}

/// A large contract takes its time to build, which must not be that of the calls that are being served.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let done = tokio::task::spawn_blocking(work).await.ok();
    if done.is_none() {
        tracing::error!("the reload of the contract panicked: the previous contract stays");
    }
    done
}

/// Reads an upstream's reflection whenever the upstream comes, and now and then while it is there.
async fn follow_reflection(tables: &Arc<Tables>, upstream: &Arc<Upstream>) {
    let mut health_status = upstream.watch();
    let mut backoff = Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF, JITTER);
    loop {
        if health_status.wait_for(|it| *it > HealthStatus::Unreachable).await.is_err() {
            return;
        }
        let pause = match read(tables, upstream).await {
            Ok(()) => {
                backoff.reset();
                backoff::jittered(tables.config().contract.reflection_interval, JITTER)
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
    blocking(move || tables.set_descriptors(&upstream, &descriptors)).await;
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
