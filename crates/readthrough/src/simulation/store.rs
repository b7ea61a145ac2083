//! The real store, watched: what ever went in is followed to its end.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, Weak};

use crate::{Entry, Key, MemoryStore, Store};

/// The store of a run, and all that was ever inserted.
#[derive(Clone)]
pub(super) struct TrackedStore {
    memory: Arc<MemoryStore<Seeded>>,
    inserted: Arc<Mutex<Vec<Inserted>>>,
}

/// The same in every run, so that a seed tells which entries leave.
type Seeded = BuildHasherDefault<DefaultHasher>;

type Inserted = (Key, Weak<Entry>);

impl TrackedStore {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            memory: Arc::new(MemoryStore::with_hasher(capacity, Seeded::default(), |_| {})),
            inserted: Arc::default(),
        }
    }

    /// Drops all but a few entries.
    pub(super) fn storm(&self) {
        for (key, _) in self.inserted.lock().unwrap().iter().skip(3) {
            self.memory.remove(key);
        }
    }

    /// The entries that can be found.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        let mut inserted = self.inserted.lock().unwrap();
        inserted.retain(|(_, entry)| entry.strong_count() > 0);
        let there = |(key, entry): &Inserted| {
            let found = self.memory.get(key)?;
            std::ptr::eq(Arc::as_ptr(&found), entry.as_ptr()).then_some(found)
        };
        inserted.iter().filter_map(there).collect()
    }
}

impl Store for TrackedStore {
    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.memory.get(key)
    }

    fn insert(&self, key: Key, entry: Arc<Entry>) {
        self.inserted.lock().unwrap().push((key, Arc::downgrade(&entry)));
        self.memory.insert(key, entry);
        // What leaves must not depend on the time that moka takes to notice.
        self.memory.make_room();
    }

    fn remove(&self, key: &Key) {
        self.memory.remove(key);
    }

    fn bytes(&self) -> u64 {
        self.memory.bytes()
    }

    fn entries(&self) -> u64 {
        self.memory.entries()
    }
}
