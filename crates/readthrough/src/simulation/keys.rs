//! Callers of namespaces: they load, put, compare, touch, delete and invalidate keys, and all that they see is held against a
//! model.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::key_model::{KeyCall, LOADED_TTL, Model, Place, Waiting};
use super::origin::{Call, SimulatedOrigin};
use super::scheduler::{Rng, Simulated, give_way};
use super::store::TrackedStore;
use crate::{Engine, Expected, Found, KeyLoad, KeyRequirement, Namespace, NamespaceLimits, Outcome, World, Write};

type Subject = Engine<SimulatedOrigin, TrackedStore, Simulated>;

const TENANTS: [&str; 2] = ["north", "south"];
const KEYS: [&str; 3] = ["a", "a/1", "b/1"];
const TAGS: u64 = 3;

/// Room for fewer entries than there are keys.
pub(super) const QUOTA: NamespaceLimits = NamespaceLimits { bytes: 3_000, entries: 4, changes: 100 };

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

    pub(super) fn first_namespace(&self) -> &Namespace {
        &self.namespaces[0]
    }

    /// Something that a caller does.
    pub(super) async fn call(self) {
        let rng = self.world.rng.clone();
        // Most want the same few keys.
        let (namespace, tenant) = (pick(&rng, &[0, 0, 1]), pick(&rng, &[TENANTS[0], TENANTS[0], TENANTS[1]]));
        let place = Place { namespace, tenant, key: pick(&rng, &KEYS) };
        match rng.below(100) {
            0..10 => drop(self.get(place)),
            10..28 => drop(self.load(place).await),
            28..35 => self.load_batch(place).await,
            35..50 => drop(self.put(place, None)),
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

    /// Reads, and loads what the key does not hold.
    async fn load(&self, place: Place) -> Option<(Found, u64)> {
        if let Some(held) = self.get(place) {
            return Some(held);
        }
        let principal = u8::from(self.world.rng.below(3) == 0);
        let wait_budget = Duration::from_millis(self.world.rng.below(10_000));
        let call = Call::Key(KeyCall { place, principal, model: Arc::clone(&self.model) });
        let (asked, until) = (self.model.lock().unwrap().tick(), self.world.now().after(wait_budget));
        let load = KeyLoad { ttl: LOADED_TTL, wait_budget, required: KeyRequirement::default(), call };
        let namespace = &self.namespaces[place.namespace];
        // One that was refused for want of room has nothing that could be checked.
        let answer = self.engine.load_key(namespace, (place.tenant, place.key), &load).await.ok()?;
        let waiting = Waiting { place, principal, asked, until };
        let write = self.model.lock().unwrap().see_answer(waiting, &answer, self.world.now());
        answer.found.ok().zip(write)
    }

    /// Reads all keys of a space at once, by calls of two keys each.
    async fn load_batch(&self, at: Place) {
        let principal = u8::from(self.world.rng.below(3) == 0);
        let wait_budget = Duration::from_millis(self.world.rng.below(10_000));
        let load = |key: &'static str| {
            let call = Call::Key(KeyCall { place: Place { key, ..at }, principal, model: Arc::clone(&self.model) });
            (key, KeyLoad { ttl: LOADED_TTL, wait_budget, required: KeyRequirement::default(), call })
        };
        // What they hold now is what the batch begins with; by its end the truth may be another one.
        let held = KEYS.map(|key| self.get(Place { key, ..at }));
        let (asked, until) = (self.model.lock().unwrap().tick(), self.world.now().after(wait_budget));
        let namespace = &self.namespaces[at.namespace];
        let answers = self.engine.load_keys(namespace, at.tenant, &KEYS.map(load), 2).await;
        let mut model = self.model.lock().unwrap();
        for ((key, held), answer) in KEYS.into_iter().zip(held).zip(answers) {
            let Ok(answer) = answer else { continue };
            let waiting = Waiting { place: Place { key, ..at }, principal, asked, until };
            match (answer.outcome, held, &answer.found) {
                (Outcome::Hit, Some((held, _)), Ok(found)) if held.value != found.value => {
                    model.fail(format!("I6: {waiting:?} held {held:?}, and {found:?} was seen"));
                }
                (Outcome::Hit, ..) => {}
                _ => drop(model.see_answer(waiting, &answer, self.world.now())),
            }
        }
    }

    /// Writes; whether it was not refused. `read` is the version that it expects, and the write that this version was of.
    fn put(&self, place: Place, read: Option<(u64, u64)>) -> bool {
        let (rng, now) = (&self.world.rng, self.world.now());
        let mut model = self.model.lock().unwrap();
        let write = model.number();
        let tags: Vec<_> = (0..rng.below(3)).map(|_| rng.below(TAGS).to_string()).collect();
        let ttl = Duration::from_millis(rng.below(10_000));
        let padding = usize::try_from(rng.below(300)).expect("a small number");
        let value = Bytes::from([&write.to_be_bytes()[..], &vec![0; padding]].concat());
        let (Place { tenant, key, .. }, expected) =
            (place, read.map_or(Expected::Anything, |(version, _)| Expected::Version(version)));
        let put = Write { tenant, key, value, tags: &tags, ttl, expected };
        let namespace = &self.namespaces[place.namespace];
        if self.engine.put(namespace, put).is_err() {
            return false;
        }
        if let Some((_, seen)) = read.filter(|(_, seen)| !model.may_hold(place, *seen, now)) {
            let current = model.live(place, now).map(|held| held.write);
            model.fail(format!("I14: {place:?} held {current:?} when {write} took the place of {seen}"));
        }
        model.put(place, write, now.after(ttl), tags);
        true
    }

    /// Reads, thinks, and writes if nobody else has.
    async fn exchange(&self, place: Place) {
        let Some((found, seen)) = self.load(place).await else { return };
        give_way(self.world.rng.below(30)).await;
        let succeeded = self.put(place, Some((found.version, seen)));
        self.model.lock().unwrap().exchanged += u64::from(succeeded);
    }

    fn touch(&self, place: Place) {
        let ttl = Duration::from_millis(self.world.rng.below(10_000));
        let mut model = self.model.lock().unwrap();
        let found = self.engine.touch(&self.namespaces[place.namespace], place.tenant, place.key, ttl);
        let now = self.world.now();
        let Some(found) = found else {
            // A life of nothing is over at once, and then the key is absent.
            model.held.remove(&place);
            return;
        };
        model.recognize(place, &found, now);
        if let Some(held) = model.held.get_mut(&place) {
            held.expires = now.after(ttl);
        }
    }

    fn delete(&self, place: Place) {
        let mut model = self.model.lock().unwrap();
        let deleted =
            self.engine.delete(&self.namespaces[place.namespace], place.tenant, place.key, Expected::Anything);
        let may_hold = model.live(place, self.world.now()).is_some() || model.may_hold_a_load(place);
        if deleted.is_ok_and(|version| version.is_some()) && !may_hold {
            model.fail(format!("I6: {place:?} was deleted, and held nothing"));
        }
        model.supersede(|other| other == place);
        model.held.remove(&place);
    }

    fn invalidate_tag(&self, at: Place) {
        let tag = self.world.rng.below(TAGS).to_string();
        let mut model = self.model.lock().unwrap();
        self.engine.invalidate_tags(&self.namespaces[at.namespace], at.tenant, std::slice::from_ref(&tag));
        // Two of them may push each other out of the record, and what is forgotten counts as invalidated, whatever its tags.
        self.engine.0.origin.monitor.lock().unwrap().allow_overlap();
        model.held.retain(|place, held| !same_space(*place, at) || !held.tags.contains(&tag));
    }

    fn invalidate_prefix(&self, at: Place) {
        let prefix = pick(&self.world.rng, &["", "a", "a/", "b/"]);
        let mut model = self.model.lock().unwrap();
        self.engine.invalidate_prefix(&self.namespaces[at.namespace], at.tenant, prefix);
        let is_meant = |place: Place| same_space(place, at) && place.key.starts_with(prefix);
        model.supersede(is_meant);
        model.held.retain(|place, _| !is_meant(*place));
    }
}

fn same_space(one: Place, other: Place) -> bool {
    (one.namespace, one.tenant) == (other.namespace, other.tenant)
}

fn pick<T: Copy>(rng: &Rng, from: &[T]) -> T {
    from[usize::try_from(rng.below(from.len() as u64)).expect("a small number")]
}
