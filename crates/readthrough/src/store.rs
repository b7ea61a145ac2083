//! Cache storage and eviction: entries live in moka, and never more bytes of them than there may be.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use moka::notification::RemovalCause;
use moka::sync::Cache;

use crate::entry::Entry;
use crate::key::Key;
use crate::versions::Left;

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

/// Moka, weighing entries by their bytes. The bound holds whenever an insertion has ended; while some run it may be passed by
/// the entries that come in with them.
///
/// Moka notes what comes in, and makes room for many entries at a time; meanwhile they take from a reserve. So insertions wait for
/// each other only where they use it up.
pub struct MemoryStore<H = KeyHash> {
    cache: Cache<Key, Slot, H>,
    usage: Arc<Usage>,
    capacity: u64,
}

/// The part of the capacity that is a reserve: one in so many bytes.
const RESERVE: u64 = 64;

/// What moka keeps. It lets go of a value some time after the value has left, so the slot is emptied when it leaves: what
/// stays behind is small.
type Slot = Arc<ArcSwapOption<Entry>>;

#[derive(Default)]
struct Usage {
    bytes: AtomicU64,
    entries: AtomicU64,
}

/// Hashes keys, which are digests already: two words of one are multiplied, each with a secret in it, so that nobody finds keys
/// that meet in one place.
#[derive(Clone, Debug)]
pub struct KeyHash([u64; 2]);

impl KeyHash {
    fn random() -> Self {
        let random = RandomState::new();
        Self([random.hash_one(0), random.hash_one(1)])
    }
}

impl BuildHasher for KeyHash {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher { secrets: self.0, hash: 0 }
    }
}

/// The hash of one key.
#[derive(Debug)]
pub struct KeyHasher {
    secrets: [u64; 2],
    hash: u64,
}

impl Hasher for KeyHasher {
    fn write(&mut self, digest: &[u8]) {
        let mut words = digest.chunks_exact(8).map(|word| word.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)));
        let mut word = |secret| u128::from(words.next().unwrap_or_default() ^ secret);
        let product = word(self.secrets[0]) * word(self.secrets[1]);
        let [high, low] =
            [product >> 64, product].map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or_default());
        self.hash = high ^ low;
    }

    /// The length of a digest, which is the same for all.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.hash
    }
}

/// How often moka is told to make room, which takes one time unless a large entry gives way to thousands of small ones.
const ROUNDS: usize = 16;

impl MemoryStore {
    /// At most `capacity` bytes. `on_removal` is told why an entry left: `evicted` (for room), `replaced` or `removed`.
    pub fn new(capacity: u64, on_removal: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        Self::with_hasher(capacity, KeyHash::random(), on_removal)
    }
}

impl<H: BuildHasher + Clone + Send + Sync + 'static> MemoryStore<H> {
    /// The same with a hasher, whose seed has a part in which entries are evicted.
    pub fn with_hasher(capacity: u64, hasher: H, on_removal: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        let usage = Arc::<Usage>::default();
        let tracked = Arc::clone(&usage);
        let cache = Cache::builder()
            .max_capacity(capacity - capacity / RESERVE)
            .weigher(|_, slot: &Slot| weight(slot))
            .eviction_listener(move |_, slot: Slot, cause| {
                if let Some(entry) = slot.swap(None) {
                    tracked.subtract(&entry);
                    entry.release(left(cause));
                    on_removal(name(cause));
                }
            })
            .build_with_hasher(hasher);
        Self { cache, usage, capacity }
    }

    /// Makes room for what has come in: where moka has all its capacity, something leaves, and that may be what has come in.
    pub fn make_room(&self) {
        for _ in 0..ROUNDS {
            self.cache.run_pending_tasks();
            if self.bytes() <= self.capacity {
                break;
            }
        }
    }
}

fn weight(slot: &Slot) -> u32 {
    slot.load().as_ref().map_or(0, |entry| u32::try_from(entry.weight()).unwrap_or(u32::MAX))
}

fn left(cause: RemovalCause) -> Left {
    if cause == RemovalCause::Size { Left::Evicted } else { Left::Removed }
}

fn name(cause: RemovalCause) -> &'static str {
    match cause {
        RemovalCause::Replaced => "replaced",
        // Nothing expires here: moka is told of no time to live.
        RemovalCause::Explicit | RemovalCause::Expired => "removed",
        RemovalCause::Size => "evicted",
    }
}

impl Usage {
    fn add(&self, entry: &Entry) {
        self.bytes.fetch_add(entry.weight() as u64, Ordering::Relaxed);
        self.entries.fetch_add(1, Ordering::Relaxed);
    }

    fn subtract(&self, entry: &Entry) {
        self.bytes.fetch_sub(entry.weight() as u64, Ordering::Relaxed);
        self.entries.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<H: BuildHasher + Clone + Send + Sync + 'static> Store for MemoryStore<H> {
    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        // A slot that was emptied meanwhile is in the map no more: another look finds what took its place.
        loop {
            if let Some(entry) = self.cache.get(key)?.load_full() {
                return Some(entry);
            }
        }
    }

    fn insert(&self, key: Key, entry: Arc<Entry>) {
        self.usage.add(&entry);
        self.cache.insert(key, Arc::new(ArcSwapOption::new(Some(entry))));
        if self.bytes() > self.capacity {
            self.make_room();
        }
    }

    fn remove(&self, key: &Key) {
        self.cache.invalidate(key);
    }

    fn bytes(&self) -> u64 {
        self.usage.bytes.load(Ordering::Relaxed)
    }

    fn entries(&self) -> u64 {
        self.usage.entries.load(Ordering::Relaxed)
    }
}

impl<H> std::fmt::Debug for MemoryStore<H> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Audience, Identity};
    use crate::validity::Validity;
    use crate::world::Moment;
    use bytes::Bytes;
    use std::sync::{Mutex, Weak};

    const CAPACITY: u64 = 4 * 1024 * 1024;

    impl<H: BuildHasher + Clone + Send + Sync + 'static> MemoryStore<H> {
        /// A look that counts for nothing: what is read often stays.
        pub(crate) fn contains(&self, key: &Key) -> bool {
            self.cache.contains_key(key)
        }
    }

    #[test]
    fn keys_that_share_half_of_their_digest_have_hashes_of_their_own() {
        let hash = KeyHash::random();
        let of = |first: u64, second: u64| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&first.to_be_bytes());
            digest[8..16].copy_from_slice(&second.to_be_bytes());
            hash.hash_one(digest)
        };
        let hashes: std::collections::HashSet<_> = (0..1000).flat_map(|n| [of(7, n), of(n + 8, 7)]).collect();
        assert_eq!(hashes.len(), 2000);
    }

    #[test]
    fn resident_bytes_stay_under_capacity_at_every_insertion() {
        let store = MemoryStore::new(CAPACITY, |_| {});
        let mut made = Vec::new();
        for n in 0..400 {
            let entry = entry(100 * 1024);
            made.push(Arc::downgrade(&entry));
            store.insert(key(n), entry);
            let alive = made.iter().filter_map(Weak::upgrade).map(|entry| entry.weight() as u64).sum::<u64>();
            assert!(alive <= CAPACITY, "{alive} bytes after {n} entries");
            assert_eq!(alive, store.bytes());
        }
        assert!(store.entries() > 30, "{} entries", store.entries());
    }

    #[test]
    fn bytes_pass_capacity_by_no_more_than_what_comes_in_at_the_moment() {
        let store = MemoryStore::new(CAPACITY, |_| {});
        let (threads, largest) = (4, 100 * 1024);
        let slack = threads * entry(largest).weight() as u64;
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    for n in 0..1_000_u32 {
                        // Of all sizes, twenty times what there is room for.
                        let bytes = largest >> (n.wrapping_mul(2_654_435_769) >> 28);
                        store.insert(key(n * 4 + thread), entry(bytes));
                        let bytes = store.bytes();
                        assert!(bytes <= CAPACITY + slack, "{bytes} bytes");
                    }
                });
            }
        });
        assert!(store.bytes() <= CAPACITY, "{} bytes when nothing comes in any more", store.bytes());
        assert!(store.bytes() > CAPACITY / 2, "{} bytes: what could be kept was not", store.bytes());
    }

    #[test]
    fn frequently_read_entries_survive_scan() {
        let store = MemoryStore::new(CAPACITY, |_| {});
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
    fn eviction_for_room_is_told_with_its_cause() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let causes = Arc::clone(&told);
        let store = MemoryStore::new(CAPACITY, move |cause| causes.lock().unwrap().push(cause));
        for n in 0..100 {
            store.insert(key(n), entry(100 * 1024));
        }
        store.make_room();
        let told = told.lock().unwrap();
        assert_eq!(told.len() as u64, 100 - store.entries());
        assert!(told.iter().all(|cause| *cause == "evicted"), "{told:?}");
    }

    #[test]
    fn replaced_and_removed_entries_return_their_bytes() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let causes = Arc::clone(&told);
        let store = MemoryStore::new(CAPACITY, move |cause| causes.lock().unwrap().push(cause));
        for _ in 0..10_000 {
            store.insert(key(1), entry(1024));
            store.insert(key(1), entry(2048));
            store.remove(&key(1));
        }
        assert_eq!((store.bytes(), store.entries()), (0, 0));
        assert_eq!(told.lock().unwrap()[..3], ["replaced", "removed", "replaced"]);
    }

    #[test]
    fn byte_count_is_exact_after_concurrent_inserts_and_removals() {
        let store = MemoryStore::new(CAPACITY / 8, |_| {});
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
        // So that no look makes it.
        store.make_room();
        let there = (0..97).filter_map(|n| store.get(&key(n))).map(|entry| entry.weight() as u64).sum::<u64>();
        assert_eq!(store.bytes(), there);
    }

    fn key(n: u32) -> Key {
        let bytes = &n.to_be_bytes();
        Key::of(&Identity { method: "m", origin: "o", tenant: "", audience: Audience::Shared, bytes })
    }

    fn entry(bytes: usize) -> Arc<Entry> {
        let epoch = Validity::new(1, true).now();
        Arc::new(Entry::new(
            Ok(Bytes::from(vec![0; bytes])),
            Bytes::new(),
            epoch,
            Moment::default(),
            Arc::default(),
            1.0,
        ))
    }
}
