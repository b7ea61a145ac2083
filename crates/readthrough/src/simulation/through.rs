//! Callers of a namespace whose writes go to its origin first (write-through). What they read is held against what the origin has
//! committed, and to whom it was acknowledged.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::origin::{Call, SimulatedOrigin};
use super::scheduler::{Simulated, give_way};
use super::store::TrackedStore;
use super::through_model::{Floor, KEYS, NAMESPACE, QUOTA, ThroughCall, Truth};
use crate::{Committed, ConsistencyRequirement, Engine, KeyLoad, KeyRequirement, Namespace};

type Subject = Engine<SimulatedOrigin, TrackedStore, Simulated>;

const TTL: Duration = Duration::from_secs(20);

/// The callers of a run.
#[derive(Clone)]
pub(super) struct ThroughCallers {
    engine: Subject,
    world: Simulated,
    namespace: Namespace,
    pub truth: Arc<Mutex<Truth>>,
}

impl ThroughCallers {
    pub(super) fn new(engine: &Subject, world: &Simulated) -> Self {
        let namespace = engine.namespace(NAMESPACE, QUOTA);
        Self { engine: engine.clone(), world: world.clone(), namespace, truth: Arc::default() }
    }

    /// Something that a caller does.
    pub(super) async fn call(self) {
        let rng = &self.world.rng;
        let key = KEYS[usize::try_from(rng.below(KEYS.len() as u64)).expect("a small number")];
        match rng.below(10) {
            0..6 => self.read(key).await,
            6..9 => self.write(key, true).await,
            _ => self.write(key, false).await,
        }
    }

    async fn read(&self, key: &'static str) {
        // Who requires it from the origin is told what was committed when he came.
        let is_strong = self.world.rng.below(5) == 0;
        let consistency =
            if is_strong { ConsistencyRequirement::Strong } else { ConsistencyRequirement::MinimizeLatency };
        let required = KeyRequirement { consistency, ..KeyRequirement::default() };
        let floor = {
            let truth = self.truth.lock().unwrap();
            let acknowledged = if is_strong { truth.latest(key) } else { truth.acknowledged(key) };
            Floor { acknowledged, ..Floor::default() }
        };
        if let Some(found) = self.engine.get_required(&self.namespace, ("north", key), required) {
            return self.truth.lock().unwrap().see(key, Some(decode(&found.value)), floor);
        }
        let call = Call::Through(ThroughCall { key, truth: Arc::clone(&self.truth) });
        let load = KeyLoad { ttl: TTL, wait_budget: Duration::from_secs(30), required, call };
        let Ok(answer) = self.engine.load_key(&self.namespace, ("north", key), &load).await else { return };
        match answer.found {
            Ok(found) => self.truth.lock().unwrap().see(key, Some(decode(&found.value)), floor),
            Err(absent) if absent.code == 5 => self.truth.lock().unwrap().see(key, None, floor),
            Err(_) => {}
        }
    }

    async fn write(&self, key: &'static str, is_value: bool) {
        let (rng, truth) = (&self.world.rng, &self.truth);
        let fate = rng.below(8);
        let write = async {
            give_way(rng.below(8)).await;
            if fate == 0 {
                return Err(());
            }
            let number = truth.lock().unwrap().commit(key, is_value);
            give_way(rng.below(8)).await;
            // It was committed, and nobody is told.
            if fate == 1 {
                return Err(());
            }
            let value = Bytes::copy_from_slice(&number.to_be_bytes());
            let committed = Committed { value, version: number, tags: &[], ttl: TTL };
            Ok((number, is_value.then_some(committed)))
        };
        let written = self.engine.write_through(&self.namespace, ("north", key), write).await;
        if let Ok(Ok((number, _))) = written {
            truth.lock().unwrap().acknowledge(key, number);
        }
    }

    pub(super) fn verify(&self) -> Result<(), String> {
        self.truth.lock().unwrap().broken.take().map_or(Ok(()), Err)
    }

    /// What the keys hold when all is at rest is what the origin has.
    pub(super) fn settle(&self) -> Result<(), String> {
        for key in KEYS {
            let held = self.engine.get(&self.namespace, "north", key).map(|found| decode(&found.value));
            let current = self.truth.lock().unwrap().current(key);
            if held.is_some() && held != current {
                return Err(format!("I7: {key} holds {held:?}, and its origin has {current:?}"));
            }
        }
        Ok(())
    }
}

fn decode(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
