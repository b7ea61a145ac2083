//! The snapshot that requests take now, and how another one takes its place.

use accord_runtime::reload::WatchedFiles;
use accord_upstream::Upstream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use tokio::sync::watch;

use super::MethodTable;
use super::sources::{Pending, Refused, Sources};
use crate::config::Config;
use crate::declared_metrics::CONTRACT_RELOADS;
use crate::reflect::Descriptors;

/// Holds the snapshot that new requests take. A contract that can't be enforced never becomes one.
pub(crate) struct Tables {
    current: ArcSwap<MethodTable>,
    configured: watch::Sender<Configured>,
    // Also serialises rebuilding: two changes at a time must not overwrite each other.
    held: Mutex<Held>,
    changed: watch::Sender<u64>,
    reloads: Counter<u64>,
}

/// What snapshots are built from.
pub(super) struct Held {
    /// What the current one was built from.
    pub served: Sources,
    /// The newest of everything, some of which may have been refused.
    pub newest: Sources,
}

/// The configuration that snapshots are built by.
#[derive(Clone)]
pub(super) struct Configured {
    pub config: Arc<Config>,
    /// The contract's files, as they were before they were read.
    pub files: WatchedFiles,
}

impl Configured {
    /// Before its files are read.
    pub(super) fn by(config: &Arc<Config>) -> Self {
        let descriptors = config.upstream.iter().filter_map(|upstream| upstream.descriptors.as_ref());
        let files = WatchedFiles::of(descriptors.chain(&config.contract.overlays).cloned());
        Self { config: Arc::clone(config), files }
    }
}

impl Tables {
    /// The first snapshot, from everything that can be read now. Any refusal is final: nothing would be served.
    pub(crate) fn open(
        config: &Arc<Config>,
        sources: Sources,
        upstreams: &[Arc<Upstream>],
    ) -> Result<Arc<Self>, Refused> {
        let built = sources.build()?;
        if upstreams.is_empty() {
            tracing::warn!("there is no upstream, so no method is served: add one with --upstream NAME=URL");
        }
        for Pending { upstream, why } in &built.pending {
            tracing::warn!(%upstream, %why, "its descriptors are not known: until they are, its methods are UNAVAILABLE");
        }
        let table = MethodTable::new(&built, upstreams, None)?;
        for line in built.warnings.iter().cloned().chain(table.warnings()) {
            tracing::warn!("{}", line.trim_start_matches("warning: "));
        }
        let reloads = CONTRACT_RELOADS.counter(&accord_runtime::telemetry::meter());
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(table),
            configured: watch::Sender::new(Configured::by(config)),
            held: Mutex::new(Held { newest: sources.clone(), served: sources }),
            changed: watch::Sender::new(0),
            reloads,
        }))
    }

    /// The snapshot for one request.
    pub(crate) fn load(&self) -> Arc<MethodTable> {
        self.current.load_full()
    }

    /// The configuration that it was built by.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.configured.borrow().config)
    }

    /// The same, as it changes.
    pub(super) fn configured(&self) -> &watch::Sender<Configured> {
        &self.configured
    }

    /// Notifies when another snapshot took the place of the last one.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes in the descriptors that an upstream's reflection answers, if they are new, and it is still one.
    pub(crate) fn set_descriptors(&self, upstream: &Arc<Upstream>, descriptors: &Descriptors) {
        let name = upstream.name();
        self.change(&format!("the descriptors of {name}"), |sources| {
            let is_present = self.load().upstreams().iter().any(|present| Arc::ptr_eq(present, upstream));
            Ok(is_present && sources.set_descriptors(name, descriptors.clone()))
        });
    }

    /// Reads descriptor sets and overlays from their files again.
    pub(crate) fn reload_files(&self) {
        self.change("the contract's files", |sources| sources.read_files(&self.config()).map(|()| true));
    }

    /// Builds a snapshot from changed sources. If it is refused, the snapshot stays as it was.
    fn change(&self, what: &str, change: impl Fn(&mut Sources) -> Result<bool, Refused>) {
        let (mut held, present) = (self.held(), self.load());
        let mut newest = held.newest.clone();
        let rebuilt = match change(&mut newest) {
            Ok(false) => return,
            Ok(true) => {
                held.newest.clone_from(&newest);
                // What was refused before may have waited for this: a service and its overlay can't change in one moment.
                // If it has to go on waiting, this is taken without it.
                self.build(newest, present.upstreams()).or_else(|refused| {
                    let mut alone = held.served.clone();
                    let built = change(&mut alone).and_then(|_| self.build(alone, present.upstreams()));
                    built.map_err(|_| refused)
                })
            }
            Err(refused) => Err(refused),
        };
        let outcome = match rebuilt {
            Ok((table, sources)) => {
                tracing::info!(methods = table.len(), "contract reloaded after a change of {what}");
                held.served = sources;
                self.replace(table);
                "replaced"
            }
            Err(refused) => {
                for reason in refused.errors() {
                    tracing::error!(
                        "contract reload refused after a change of {what}, the previous contract stays: {reason}"
                    );
                }
                "refused"
            }
        };
        self.count(outcome);
    }

    /// Counts an attempt to replace the contract.
    pub(super) fn count(&self, outcome: &'static str) {
        self.reloads.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// Puts another snapshot in the place of the last one.
    pub(super) fn replace(&self, table: MethodTable) {
        self.current.store(Arc::new(table));
        self.changed.send_modify(|version| *version += 1);
    }

    /// A snapshot from these sources, which goes on counting where the last one left off.
    pub(super) fn build(
        &self,
        sources: Sources,
        upstreams: &[Arc<Upstream>],
    ) -> Result<(MethodTable, Sources), Refused> {
        let table = MethodTable::new(&sources.build()?, upstreams, Some(&self.load()))?;
        Ok((table, sources))
    }

    /// What snapshots are built from, and nobody else's for as long as it is held.
    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        // Only replaced whole, so a thread that died while it held the lock left nothing half done.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
