//! Hot reload of the configuration: each change is taken over as a whole, or nothing of it.

use crate::{call::Gateway, config::Config, inspect::Inspection};
use accord_runtime::{
    backoff::Backoff,
    cli::{Change, Newest},
};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// The wait before a change that was refused is tried again, from the first time to the longest: an upstream that it adds may be
/// about to start, or an overlay for it to be written.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);
/// So that many gateways don't ask at the same moment.
const JITTER: f64 = 0.4;

/// Takes over what the configuration says each time that it changes.
pub(super) async fn follow(gateway: Arc<Gateway>, inspection: Arc<Inspection>, mut newest: Newest<Config>) {
    while newest.changed().await.is_ok() {
        let change = newest.borrow_and_update().clone();
        if let Some(change) = change {
            until_taken(&gateway, &inspection, &change, newest.clone()).await;
        }
    }
}

/// Tries a change until it is taken over, or another one takes its place. The log says each reason once.
async fn until_taken(gateway: &Gateway, inspection: &Inspection, change: &Change<Config>, mut newest: Newest<Config>) {
    let mut backoff = Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF, JITTER);
    let mut told = None;
    while let Err(refused) = gateway.tables.reconfigure(&change.config).await {
        if told.as_ref() != Some(&refused) {
            change.refused(refused.errors().map(str::to_owned));
            told = Some(refused);
        }
        // Nobody says when an upstream or a file that was missing is there: it is looked for again, ever more seldom.
        tokio::select! {
            () = sleep(backoff.next_wait()) => {}
            _superseded = newest.changed() => return,
        }
    }
    take_over(gateway, &change.config);
    inspection.take_over(change.config.reflection.enabled, &change.config.openapi);
    change.taken();
}

/// Takes over what can't be refused any more.
fn take_over(gateway: &Gateway, config: &Config) {
    let limits = &config.limits;
    gateway.live.take_over(config);
    gateway.compression.take_over(&config.compression);
    gateway.samples.take_over(config.console.slow_call);
    gateway.memory.resize(limits.max_memory, limits.max_share);
    gateway.concurrency_limit.resize(limits.max_in_flight, limits.max_share);
    for cache in &gateway.caches {
        cache.resize(limits.max_in_flight);
    }
}
