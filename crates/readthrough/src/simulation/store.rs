//! The real store, watched: what ever went in is followed to its end.

use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, Weak};

use super::scheduler::Simulated;
use super::versions::VersionModel;
use crate::validity::Validity;
use crate::{Entry, Key, MemoryStore, Store};

/// The store of a run, and what was inserted last under each key.
#[derive(Clone)]
pub(super) struct TrackedStore {
    memory: Arc<MemoryStore<Seeded>>,
    inserted: Arc<Mutex<BTreeMap<Key, Weak<Entry>>>>,
    /// What went in first of all.
    early: Arc<Mutex<Vec<Key>>>,
    versions: Arc<Mutex<VersionModel>>,
}

/// The same in every run, so that a seed tells which entries leave.
type Seeded = BuildHasherDefault<DefaultHasher>;

impl TrackedStore {
    pub(super) fn new(capacity: u64, world: Simulated) -> Self {
        Self {
            memory: Arc::new(MemoryStore::with_hasher(capacity, Seeded::default(), |_| {})),
            inserted: Arc::default(),
            early: Arc::default(),
            versions: Arc::new(Mutex::new(VersionModel::new(world))),
        }
    }

    /// Judges by this what leaves.
    pub(super) fn judge_by(&self, validity: Arc<Validity>) {
        self.versions.lock().unwrap().judge_by(validity);
    }

    pub(super) fn verify(&self) -> Result<(), String> {
        self.versions.lock().unwrap().broken.take().map_or(Ok(()), Err)
    }

    /// Drops all but a few entries.
    pub(super) fn storm(&self) {
        let early = self.early.lock().unwrap().clone();
        for (key, _) in self.there().into_iter().filter(|(key, _)| !early.contains(key)) {
            self.remove(&key);
        }
    }

    /// The entries that can be found.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        self.there().into_values().collect()
    }

    /// The same with their keys. What is found so was not read.
    fn there(&self) -> BTreeMap<Key, Arc<Entry>> {
        let mut inserted = self.inserted.lock().unwrap();
        inserted.retain(|key, _| self.memory.contains(key));
        inserted.iter().filter_map(|(key, entry)| Some((*key, entry.upgrade()?))).collect()
    }
}

impl Store for TrackedStore {
    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.memory.get(key)
    }

    fn insert(&self, key: Key, entry: Arc<Entry>) {
        let before = self.there();
        {
            let mut early = self.early.lock().unwrap();
            if early.len() < 3 {
                early.push(key);
            }
        }
        self.versions.lock().unwrap().stored(&key, &entry, before.get(&key).map(|entry| &**entry));
        self.inserted.lock().unwrap().insert(key, Arc::downgrade(&entry));
        self.memory.insert(key, entry);
        // What leaves must not depend on the time that moka takes to notice.
        self.memory.make_room();
        for (other, entry) in before.into_iter().filter(|(other, _)| *other != key) {
            if !self.memory.contains(&other) {
                self.versions.lock().unwrap().left(other, &entry, false);
            }
        }
    }

    fn remove(&self, key: &Key) {
        if let Some(entry) = self.there().get(key) {
            self.versions.lock().unwrap().left(*key, entry, true);
        }
        self.memory.remove(key);
    }

    fn bytes(&self) -> u64 {
        self.memory.bytes()
    }

    fn entries(&self) -> u64 {
        self.memory.entries()
    }
}
