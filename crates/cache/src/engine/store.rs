//! Where entries live. A bound in bytes, and nothing that coalesces: that is the engine's own work.

use std::sync::Arc;

use moka::notification::RemovalCause;
use moka::sync::Cache;

use super::entry::Entry;
use super::key::Key;

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

/// Moka, weighing entries by their bytes. Its maintenance runs behind the writes, so the bound may be passed for a moment
/// by what the last few hundred of them brought.
#[derive(Clone, Debug)]
pub struct MokaStore {
    cache: Cache<Key, Arc<Entry>>,
}

impl MokaStore {
    /// At most `capacity` bytes. `evicted` is told why an entry left.
    pub fn new(capacity: u64, evicted: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        let cache = Cache::builder()
            .max_capacity(capacity)
            .weigher(|_, entry: &Arc<Entry>| u32::try_from(entry.weight()).unwrap_or(u32::MAX))
            .eviction_listener(move |_, _, cause| evicted(name(cause)))
            .build();
        Self { cache }
    }
}

fn name(cause: RemovalCause) -> &'static str {
    match cause {
        RemovalCause::Expired => "expired",
        RemovalCause::Explicit => "dropped",
        RemovalCause::Replaced => "replaced",
        RemovalCause::Size => "size",
    }
}

impl Store for MokaStore {
    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.cache.get(key)
    }

    fn insert(&self, key: Key, entry: Arc<Entry>) {
        self.cache.insert(key, entry);
    }

    fn remove(&self, key: &Key) {
        self.cache.invalidate(key);
    }

    fn bytes(&self) -> u64 {
        self.cache.weighted_size()
    }

    fn entries(&self) -> u64 {
        self.cache.entry_count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::{Audience, Identity};
    use super::super::validity::Validity;
    use super::super::world::Moment;
    use super::*;
    use bytes::Bytes;

    #[test]
    fn bytes_are_bounded_and_not_entries() {
        let store = MokaStore::new(64 * 1024, |_| {});
        let epoch = Validity::new(1, true).now();
        for n in 0..1_000_u32 {
            let identity =
                Identity { method: "m", origin: "o", tenant: "", audience: Audience::Shared, bytes: &n.to_be_bytes() };
            let message = Bytes::from(vec![0; 1024]);
            let entry = Entry::new(Ok(message), epoch, Moment::default(), Box::default(), 1.0);
            store.insert(Key::of(&identity), Arc::new(entry));
        }
        store.cache.run_pending_tasks();
        assert!(store.bytes() <= 64 * 1024, "{} bytes", store.bytes());
        assert!(store.entries() > 20, "{} entries", store.entries());
    }
}
