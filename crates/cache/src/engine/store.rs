//! Where entries live: in memory, and never more bytes of them than there may be.
//!
//! Which ones leave is decided as in S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023),
//! without its ghosts: what nobody asked for since it came leaves from a short queue, so that a scan takes little with it;
//! the others stand in a long one, where having been asked for buys one more round.

use std::collections::{HashMap, VecDeque, hash_map};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::entry::Entry;
use super::key::Key;

const SHARDS: usize = 64;

/// The short queue has one of this many entries.
const SHORT: usize = 10;

/// A bounded map.
pub trait Store: Send + Sync + 'static {
    /// The entry at a key.
    fn get(&self, key: &Key) -> Option<Arc<Entry>>;
    /// Puts an entry in the place of an older one; makes room.
    fn insert(&self, key: Key, entry: Arc<Entry>);
    /// Drops an entry.
    fn remove(&self, key: &Key);
    /// Bytes of all entries.
    fn bytes(&self) -> u64;
    /// Number of entries.
    fn entries(&self) -> u64;
}

/// Memory. Whoever reads meets others only in a shard; whoever changes it waits for its turn, which a load has time for.
pub struct Memory {
    capacity: u64,
    shards: Box<[RwLock<HashMap<Key, Slot>>]>,
    queues: Mutex<Queues>,
    left: Box<dyn Fn(&'static str) + Send + Sync>,
}

struct Slot {
    entry: Arc<Entry>,
    serial: u64,
    wanted: AtomicBool,
}

#[derive(Default)]
struct Queues {
    bytes: u64,
    entries: usize,
    serial: u64,
    short: VecDeque<Place>,
    long: VecDeque<Place>,
}

/// A place in a queue. It counts while its key's slot has the same serial number.
#[derive(Clone, Copy)]
struct Place {
    key: Key,
    serial: u64,
}

impl Memory {
    /// At most `capacity` bytes. `left` is told why an entry left.
    pub fn new(capacity: u64, left: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self { capacity, shards, queues: Mutex::default(), left: Box::new(left) }
    }

    /// Drops one entry; whether there was one.
    fn evict(&self, queues: &mut Queues) -> bool {
        while let Some(place) = queues.next() {
            let mut shard = self.write(&place.key);
            let Some(slot) = shard.get_mut(&place.key).filter(|slot| slot.serial == place.serial) else { continue };
            if std::mem::take(slot.wanted.get_mut()) {
                queues.long.push_back(place);
                continue;
            }
            let evicted = shard.remove(&place.key).map(|slot| slot.entry);
            self.took_leave(queues, evicted, "size");
            return true;
        }
        false
    }

    fn took_leave(&self, queues: &mut Queues, entry: Option<Arc<Entry>>, cause: &'static str) {
        if let Some(entry) = entry {
            queues.bytes -= entry.weight() as u64;
            queues.entries -= 1;
            (self.left)(cause);
        }
    }

    /// Entries that are dropped leave their places behind. Once those are the most, they go all at once.
    fn forget_left_places(&self, queues: &mut Queues) {
        if queues.short.len() + queues.long.len() > 2 * queues.entries + SHARDS {
            let stands =
                |place: &Place| self.read(&place.key).get(&place.key).is_some_and(|slot| slot.serial == place.serial);
            queues.short.retain(stands);
            queues.long.retain(stands);
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, key: &Key) -> RwLockReadGuard<'_, HashMap<Key, Slot>> {
        self.shards[key.shard(SHARDS)].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, key: &Key) -> RwLockWriteGuard<'_, HashMap<Key, Slot>> {
        self.shards[key.shard(SHARDS)].write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        let shard = self.read(key);
        let slot = shard.get(key)?;
        slot.wanted.store(true, Ordering::Relaxed);
        Some(Arc::clone(&slot.entry))
    }

    fn insert(&self, key: Key, entry: Arc<Entry>) {
        let mut queues = self.queues();
        let weight = entry.weight() as u64;
        // Room is made first, so that the bound is not passed for a moment.
        while queues.bytes + weight > self.capacity && self.evict(&mut queues) {}
        queues.bytes += weight;
        queues.entries += 1;
        let replaced = match self.write(&key).entry(key) {
            hash_map::Entry::Occupied(mut slot) => Some(std::mem::replace(&mut slot.get_mut().entry, entry)),
            hash_map::Entry::Vacant(slot) => {
                slot.insert(Slot { entry, serial: queues.enter(key), wanted: AtomicBool::new(false) });
                None
            }
        };
        self.took_leave(&mut queues, replaced, "replaced");
        self.forget_left_places(&mut queues);
    }

    fn remove(&self, key: &Key) {
        let mut queues = self.queues();
        let removed = self.write(key).remove(key).map(|slot| slot.entry);
        self.took_leave(&mut queues, removed, "dropped");
    }

    fn bytes(&self) -> u64 {
        self.queues().bytes
    }

    fn entries(&self) -> u64 {
        self.queues().entries as u64
    }
}

impl Queues {
    /// A place at the end of the short queue; its serial number.
    fn enter(&mut self, key: Key) -> u64 {
        self.serial += 1;
        self.short.push_back(Place { key, serial: self.serial });
        self.serial
    }

    /// Whose turn it is to leave, or to go on to the end of the long queue.
    fn next(&mut self) -> Option<Place> {
        let is_short_full = self.short.len() * SHORT >= self.short.len() + self.long.len();
        let queue = if is_short_full { &mut self.short } else { &mut self.long };
        queue.pop_front()
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Memory").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::{Audience, Identity};
    use super::super::validity::Validity;
    use super::super::world::Moment;
    use super::*;
    use bytes::Bytes;
    use std::sync::{Mutex, Weak};

    const CAPACITY: u64 = 4 * 1024 * 1024;

    #[test]
    fn what_is_in_memory_is_within_the_bound_at_every_moment() {
        let store = Memory::new(CAPACITY, |_| {});
        let mut made = Vec::new();
        for n in 0..400 {
            let entry = entry(100 * 1024);
            made.push(Arc::downgrade(&entry));
            store.insert(key(n), entry);
            let alive = made.iter().filter_map(Weak::upgrade).map(|entry| entry.weight() as u64).sum::<u64>();
            assert!(alive <= CAPACITY, "{alive} bytes after {n} entries");
            assert_eq!(alive, store.bytes());
        }
        assert_eq!(store.entries(), 40);
    }

    #[test]
    fn what_is_asked_for_again_stays_while_others_pass_by() {
        let store = Memory::new(CAPACITY, |_| {});
        let wanted = 0..200;
        for n in wanted.clone() {
            store.insert(key(n), entry(10 * 1024));
        }
        for n in 1_000..10_000 {
            store.insert(key(n), entry(10 * 1024));
            store.get(&key(n % 200));
        }
        let kept = wanted.filter(|n| store.get(&key(*n)).is_some()).count();
        assert!(kept > 150, "{kept} of 200 are left");
    }

    #[test]
    fn an_entry_that_takes_the_place_of_another_or_is_dropped_gives_its_bytes_back() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let causes = Arc::clone(&told);
        let store = Memory::new(CAPACITY, move |cause| causes.lock().unwrap().push(cause));
        for _ in 0..10_000 {
            store.insert(key(1), entry(1024));
            store.insert(key(1), entry(2048));
            store.remove(&key(1));
        }
        assert_eq!((store.bytes(), store.entries()), (0, 0));
        assert_eq!(told.lock().unwrap()[..3], ["replaced", "dropped", "replaced"]);
        let places = store.queues().short.len();
        assert!(places <= SHARDS + 1, "{places} places of entries that are gone");
    }

    #[test]
    fn threads_that_insert_and_drop_the_same_keys_keep_count() {
        let store = Memory::new(CAPACITY / 8, |_| {});
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..5_000 {
                        store.insert(key(n % 97), entry(10 * 1024));
                        store.get(&key(n % 89));
                        store.remove(&key(n % 13));
                    }
                });
            }
        });
        let there = (0..97).filter_map(|n| store.get(&key(n))).map(|entry| entry.weight() as u64).sum::<u64>();
        assert_eq!(store.bytes(), there);
    }

    fn key(n: u32) -> Key {
        let bytes = &n.to_be_bytes();
        Key::of(&Identity { method: "m", origin: "o", tenant: "", audience: Audience::Shared, bytes })
    }

    fn entry(bytes: usize) -> Arc<Entry> {
        let epoch = Validity::new(1, true).now();
        Arc::new(Entry::new(Ok(Bytes::from(vec![0; bytes])), epoch, Moment::default(), Box::default(), 1.0))
    }
}
