//! A store whose evictions a seed can replay.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::engine::{Entry, Key, Store};

/// A map that drops entries in the order of their keys, which is as good as any: keys are digests.
#[derive(Clone)]
pub struct PlainStore {
    capacity: u64,
    entries: Arc<Mutex<BTreeMap<Key, Arc<Entry>>>>,
}

impl PlainStore {
    pub fn new(capacity: u64) -> Self {
        Self { capacity, entries: Arc::default() }
    }

    /// Drops all but a few entries.
    pub fn storm(&self) {
        let mut entries = self.entries.lock().unwrap();
        while entries.len() > 3 {
            entries.pop_last();
        }
    }

    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.entries.lock().unwrap().values().cloned().collect()
    }
}

fn weigh(entries: &BTreeMap<Key, Arc<Entry>>) -> u64 {
    entries.values().map(|entry| entry.weight() as u64).sum()
}

impl Store for PlainStore {
    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.entries.lock().unwrap().get(key).cloned()
    }

    fn insert(&self, key: Key, entry: Arc<Entry>) {
        let mut entries = self.entries.lock().unwrap();
        entries.insert(key, entry);
        while weigh(&entries) > self.capacity {
            entries.pop_first();
        }
    }

    fn remove(&self, key: &Key) {
        self.entries.lock().unwrap().remove(key);
    }

    fn bytes(&self) -> u64 {
        weigh(&self.entries.lock().unwrap())
    }

    fn entries(&self) -> u64 {
        self.entries.lock().unwrap().len() as u64
    }
}
