//! Callers of namespaces: they put, compare, touch, delete and invalidate keys, and all that they see is held against a model.
//!
//! The model knows the one value that each key may hold. The engine may have dropped it (eviction, forgotten tags), which is
//! noticed when it says that the key is absent; it never holds another value, and never again one that was gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::origin::SimulatedOrigin;
use super::scheduler::{Rng, Simulated, give_way};
use super::store::TrackedStore;
use crate::{Engine, Found, Moment, Namespace, NamespaceLimits, World, Write};

type Subject = Engine<SimulatedOrigin, TrackedStore, Simulated>;

const TENANTS: [&str; 2] = ["north", "south"];
const KEYS: [&str; 3] = ["a", "a/1", "b/1"];
const TAGS: u64 = 3;

/// Room for fewer entries than there are keys.
const QUOTA: NamespaceLimits = NamespaceLimits { bytes: 3_000, entries: 4 };

/// A key, as its callers name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    namespace: usize,
    tenant: &'static str,
    key: &'static str,
}

/// What a key may hold. The number of the write stands in the value, and is that of no other write.
#[derive(Clone, Debug)]
struct Held {
    write: u64,
    expires: Moment,
    tags: Vec<String>,
}

/// The truth about all keys.
#[derive(Debug, Default)]
pub(super) struct Model {
    held: BTreeMap<Place, Held>,
    writes: u64,
    pub exchanged: u64,
    pub broken: Option<String>,
}

impl Model {
    fn live(&self, place: Place, now: Moment) -> Option<&Held> {
        self.held.get(&place).filter(|held| now < held.expires)
    }

    /// Holds what a read saw against the truth; the number of the write whose value it is.
    fn see(&mut self, place: Place, found: Option<&Found>, now: Moment) -> Option<u64> {
        let Some(found) = found else {
            // It was dropped, and never comes back.
            self.held.remove(&place);
            return None;
        };
        let write = decode(&found.value);
        match self.live(place, now) {
            Some(held) if held.write == write && found.ttl <= held.expires.since(now) => {}
            held => self.fail(format!("I6: {place:?} held {held:?}, and {write} was seen")),
        }
        Some(write)
    }

    fn fail(&mut self, broken: String) {
        self.broken.get_or_insert(broken);
    }
}

fn decode(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The callers of a run.
#[derive(Clone)]
pub(super) struct KeyCallers {
    engine: Subject,
    world: Simulated,
    namespaces: [Namespace; 2],
    pub model: Arc<Mutex<Model>>,
}

impl KeyCallers {
    pub(super) fn new(engine: &Subject, world: &Simulated) -> Self {
        let namespaces = ["carts", "sessions"].map(|name| engine.namespace(name, QUOTA));
        Self { engine: engine.clone(), world: world.clone(), namespaces, model: Arc::default() }
    }

    /// Something that a caller does.
    pub(super) async fn call(self) {
        let rng = self.world.rng.clone();
        // Most want the same few keys.
        let (namespace, tenant) = (pick(&rng, &[0, 0, 1]), pick(&rng, &[TENANTS[0], TENANTS[0], TENANTS[1]]));
        let place = Place { namespace, tenant, key: pick(&rng, &KEYS) };
        match rng.below(100) {
            0..30 => drop(self.get(place)),
            30..50 => drop(self.put(place, None)),
            50..75 => self.exchange(place).await,
            75..83 => self.touch(place),
            83..90 => self.delete(place),
            90..95 => self.invalidate_tag(place),
            _ => self.invalidate_prefix(place),
        }
    }

    /// No namespace holds more than its quota.
    pub(super) fn verify(&self) -> Result<(), String> {
        if let Some(broken) = self.model.lock().unwrap().broken.take() {
            return Err(broken);
        }
        let over = self.namespaces.iter().map(Namespace::stats);
        let over = over.filter(|stats| stats.bytes > QUOTA.bytes || stats.entries > QUOTA.entries);
        over.map(|stats| Err(format!("I11: over its quota: {stats:?}"))).next().unwrap_or(Ok(()))
    }

    /// Reads, and holds what comes against the truth.
    fn get(&self, place: Place) -> Option<(Found, u64)> {
        let found = self.engine.get(&self.namespaces[place.namespace], place.tenant, place.key);
        let write = self.model.lock().unwrap().see(place, found.as_ref(), self.world.now());
        found.zip(write)
    }

    /// Writes; whether it was not refused. `read` is the version that it expects, and the write that this version was of.
    fn put(&self, place: Place, read: Option<(u64, u64)>) -> bool {
        let (rng, now) = (&self.world.rng, self.world.now());
        let mut model = self.model.lock().unwrap();
        model.writes += 1;
        let write = model.writes;
        let tags: Vec<_> = (0..rng.below(3)).map(|_| rng.below(TAGS).to_string()).collect();
        let ttl = Duration::from_millis(rng.below(10_000));
        let padding = usize::try_from(rng.below(300)).expect("a small number");
        let value = Bytes::from([&write.to_be_bytes()[..], &vec![0; padding]].concat());
        let (Place { tenant, key, .. }, expected) = (place, read.map(|(version, _)| version));
        let put = Write { tenant, key, value, tags: &tags, ttl, expected };
        let namespace = &self.namespaces[place.namespace];
        if self.engine.put(namespace, put).is_err() {
            return false;
        }
        let current = model.live(place, now).map(|held| held.write);
        if let Some((_, seen)) = read.filter(|(_, seen)| current != Some(*seen)) {
            model.fail(format!("I14: {place:?} held {current:?} when {write} took the place of {seen}"));
        }
        model.held.insert(place, Held { write, expires: now.after(ttl), tags });
        true
    }

    /// Reads, thinks, and writes if nobody else has.
    async fn exchange(&self, place: Place) {
        let Some((found, seen)) = self.get(place) else { return };
        give_way(self.world.rng.below(30)).await;
        let succeeded = self.put(place, Some((found.version, seen)));
        self.model.lock().unwrap().exchanged += u64::from(succeeded);
    }

    fn touch(&self, place: Place) {
        let ttl = Duration::from_millis(self.world.rng.below(10_000));
        let mut model = self.model.lock().unwrap();
        let found = self.engine.touch(&self.namespaces[place.namespace], place.tenant, place.key, ttl);
        let now = self.world.now();
        let expires = now.after(ttl);
        match (&found, model.live(place, now).is_some()) {
            (Some(_), true) => {
                if let Some(held) = model.held.get_mut(&place) {
                    held.expires = expires;
                }
            }
            (Some(_), false) => model.fail(format!("I6: {place:?} was touched, and held nothing")),
            // A life of nothing is over at once, and then the key is absent.
            (None, _) => drop(model.held.remove(&place)),
        }
    }

    fn delete(&self, place: Place) {
        let mut model = self.model.lock().unwrap();
        let deleted = self.engine.delete(&self.namespaces[place.namespace], place.tenant, place.key, None);
        if deleted.is_ok_and(|version| version.is_some()) && model.live(place, self.world.now()).is_none() {
            model.fail(format!("I6: {place:?} was deleted, and held nothing"));
        }
        model.held.remove(&place);
    }

    fn invalidate_tag(&self, at: Place) {
        let tag = self.world.rng.below(TAGS).to_string();
        let mut model = self.model.lock().unwrap();
        self.engine.invalidate_tags(&self.namespaces[at.namespace], at.tenant, std::slice::from_ref(&tag));
        model.held.retain(|place, held| !same_space(*place, at) || !held.tags.contains(&tag));
    }

    fn invalidate_prefix(&self, at: Place) {
        let prefix = pick(&self.world.rng, &["", "a", "a/", "b/"]);
        let mut model = self.model.lock().unwrap();
        self.engine.invalidate_prefix(&self.namespaces[at.namespace], at.tenant, prefix);
        model.held.retain(|place, _| !same_space(*place, at) || !place.key.starts_with(prefix));
    }
}

fn same_space(one: Place, other: Place) -> bool {
    (one.namespace, one.tenant) == (other.namespace, other.tenant)
}

fn pick<T: Copy>(rng: &Rng, from: &[T]) -> T {
    from[usize::try_from(rng.below(from.len() as u64)).expect("a small number")]
}
