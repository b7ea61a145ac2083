//! A modelled second level that replicas share: what is put there arrives late or never, what is found may be gone, or an older value
//! that has come back, and answers are late or get lost.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::gateway::CacheProcess;
use super::mesh::{Mesh, Variant};
use super::process::{Network, Process, after};
use super::scheduler::Simulated;
use crate::engine::Rules;
use crate::grant::HOLDER_SHARE;
use crate::shared_value::{self, SecondLevel, SharedMiss, SharedValue};
use crate::{Key, Moment, World};

/// What a server holds, and has held.
#[derive(Clone)]
pub(super) struct SharedServer {
    world: Simulated,
    values: Arc<Mutex<BTreeMap<Key, Vec<Written>>>>,
    /// What was found there.
    found: Arc<AtomicU64>,
}

#[derive(Clone)]
struct Written {
    value: SharedValue,
    at: Moment,
}

/// The server, as one process reaches it.
#[derive(Clone)]
struct ModelledSecondLevel {
    server: SharedServer,
    process: Process,
    network: Network,
}

impl SharedServer {
    pub(super) fn new(world: &Simulated) -> Self {
        Self { world: world.clone(), values: Arc::default(), found: Arc::default() }
    }

    /// A process looks there from now on.
    pub(super) fn attach(&self, mesh: &Mesh, cache: &CacheProcess) {
        let (process, network) = (cache.process.clone(), mesh.network.clone());
        cache.engine.use_second_level(Arc::new(ModelledSecondLevel { server: self.clone(), process, network }));
    }

    pub(super) fn found(&self) -> u64 {
        self.found.load(Ordering::Relaxed)
    }

    /// The newest value of a key; in a `wild` one now and then an older one, or none.
    fn pick(&self, key: Key, is_wild: bool) -> Option<Written> {
        let values = self.values.lock().unwrap();
        let written = values.get(&key)?;
        let chance = if is_wild { self.world.rng.below(10) } else { 9 };
        match chance {
            0 => None,
            1..4 => written.get(usize::try_from(self.world.rng.below(written.len() as u64)).expect("few values")),
            _ => written.last(),
        }
        .cloned()
    }

    fn write(&self, key: Key, value: SharedValue) {
        let at = self.world.now();
        self.values.lock().unwrap().entry(key).or_default().push(Written { value, at });
    }
}

impl ModelledSecondLevel {
    async fn ask(&self, key: Key) -> Result<SharedValue, SharedMiss> {
        self.network.carry_near().await.ok_or(SharedMiss::Late)?;
        let written = self.server.pick(key, !self.network.is_calm).ok_or(SharedMiss::Absent)?;
        // By another clock than that of whoever is told.
        let since = self.server.world.now().since(written.at).div_f64(HOLDER_SHARE);
        self.network.carry_near().await.ok_or(SharedMiss::Late)?;
        self.process.turn().await.ok_or(SharedMiss::Unavailable)?;
        self.server.found.fetch_add(1, Ordering::Relaxed);
        Ok(SharedValue { age: written.value.age + since, ..written.value })
    }
}

impl SecondLevel for ModelledSecondLevel {
    fn find(&self, key: Key, _: Duration) -> BoxFuture<'_, Result<SharedValue, SharedMiss>> {
        Box::pin(self.ask(key))
    }

    fn put(&self, key: Key, value: SharedValue) {
        let Self { server, network, .. } = self.clone();
        if network.is_calm {
            return server.write(key, value);
        }
        let (world, began) = (server.world.clone(), server.world.now());
        let late = Duration::from_micros(world.rng.below(20_000));
        if world.rng.below(20) > 0 {
            self.process.spawn(async move {
                // It grows older on its way.
                after(&world, began, late).await;
                let on_its_way = world.now().since(began).div_f64(HOLDER_SHARE);
                let value = SharedValue { age: value.age + on_its_way, ..value };
                server.write(key, value);
            });
        }
    }
}

impl fmt::Debug for ModelledSecondLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ModelledSecondLevel").finish_non_exhaustive()
    }
}

/// A variant without one of the second level's rules.
pub(super) fn without(rule: impl FnOnce(&mut shared_value::Rules)) -> Variant {
    let mut second_level = shared_value::Rules::ALL;
    rule(&mut second_level);
    Variant { rules: Rules { second_level, ..Variant::ALL.rules }, ..Variant::ALL }
}
