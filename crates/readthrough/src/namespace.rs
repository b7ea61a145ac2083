//! Namespaces (key/value spaces): entries that callers put, in the same store as the answers that the engine loads. What a
//! key does not hold may be loaded (`namespace_load`).
//!
//! Their rules:
//! 1. What a key holds is compared and changed in one step, under the lock that guards the fills of an answer's place.
//! 2. A version is never used twice: a compare-and-set never takes a value for one that was deleted, evicted or expired
//!    before it.
//! 3. What is expired or invalidated is absent, for a compare-and-set as for a read.
//! 4. A write has the epoch of its start: an invalidation that is acknowledged while it compares reaches what it stores.
//! 5. A namespace has no more bytes and entries than its quota when a put has ended; what was put first leaves first.
//! 6. Whatever a tenant does concerns its own keys and tags alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::answer::Load;
use crate::changes::{Change, Changes, Watcher};
use crate::engine::Engine;
use crate::entry::Entry;
use crate::key::{Audience, Identity, Key, Tag};
use crate::metrics::NamespaceMetrics;
use crate::origin::Origin;
use crate::quota::{KeyName, NamespaceLimits, Put, Quota};
use crate::store::Store;
use crate::world::World;

/// A key/value space. Clones share everything.
#[derive(Clone, Debug)]
pub struct Namespace(pub(crate) Arc<Parts>);

#[derive(Debug)]
pub(crate) struct Parts {
    name: Box<str>,
    pub(crate) quota: Arc<Quota>,
    counts: Counts,
    metrics: NamespaceMetrics,
    pub(crate) changes: Arc<Changes>,
    /// Whether its keys are rows of others, who invalidate them by their tags.
    has_rows: bool,
}

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    puts: AtomicU64,
    conflicts: AtomicU64,
    loads: AtomicU64,
}

/// What a namespace holds, and what was done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceStats {
    /// Its entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Reads of keys that held a value.
    pub hits: u64,
    /// Reads of keys that did not.
    pub misses: u64,
    /// Values that were put.
    pub puts: u64,
    /// Writes that expected another version.
    pub conflicts: u64,
    /// Loads of keys that held nothing.
    pub loads: u64,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The value.
    pub value: Bytes,
    /// Its version.
    pub version: u64,
    /// The version that its origin gave it.
    pub of_origin: Option<u64>,
    /// Time since it was put, or since its load began.
    pub age: Duration,
    /// What is left of its life.
    pub ttl: Duration,
}

impl Found {
    /// The same this much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self { age: self.age + time, ttl: self.ttl.saturating_sub(time), ..self }
    }
}

/// A value to put.
#[derive(Clone, Debug)]
pub struct Write<'a> {
    /// Whose key.
    pub tenant: &'a str,
    /// The key.
    pub key: &'a str,
    /// The value.
    pub value: Bytes,
    /// Names under which it can be invalidated.
    pub tags: &'a [String],
    /// Its life.
    pub ttl: Duration,
    /// What the key must hold.
    pub expected: Expected,
}

/// What a key must hold for a write, or the write is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it holds.
    Anything,
    /// Nothing: it is absent.
    Nothing,
    /// This version.
    Version(u64),
    /// The value to which its origin gave this version.
    OfOrigin(u64),
}

/// What became of a value that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its version.
    pub version: u64,
    /// Whether it is in memory. Where the store is full of what is read more often, it may not be.
    pub stored: bool,
}

/// The key does not hold what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key does not hold the version expected")]
pub struct Conflict;

impl Namespace {
    pub(crate) fn place(&self, tenant: &str, key: &str) -> Key {
        // No method has this name: none has a space in it.
        let method = "key of a namespace";
        let (origin, bytes) = (&*self.0.name, key.as_bytes());
        Key::of(&Identity { method, origin, tenant, audience: Audience::Shared, bytes })
    }

    pub(crate) fn key_name(&self, tenant: &str, key: &str) -> KeyName {
        KeyName::new(&self.0.quota, tenant, key)
    }

    /// A tag of a tenant in this namespace, which no tag of a contract meets.
    pub(crate) fn tag(&self, tenant: &str, name: &str) -> Tag {
        Tag::scoped(["namespace", &self.0.name, tenant, name])
    }

    /// The tags under which the row of a key is invalidated, where keys are rows.
    pub(crate) fn row_tags(&self, tenant: &str, key: &str) -> impl Iterator<Item = Tag> + use<> {
        let name = &*self.0.name;
        let tags = || [Tag::row(name, Some(tenant), key), Tag::row(name, None, key), Tag::rows(name)];
        self.0.has_rows.then(tags).into_iter().flatten()
    }

    /// What it holds, and what was done with it so far.
    pub fn stats(&self) -> NamespaceStats {
        let Counts { hits, misses, puts, conflicts, loads } = &self.0.counts;
        let [hits, misses, puts, conflicts, loads] =
            [hits, misses, puts, conflicts, loads].map(|count| count.load(Ordering::Relaxed));
        let (entries, bytes) = (self.0.quota.entries(), self.0.quota.bytes());
        NamespaceStats { entries, bytes, hits, misses, puts, conflicts, loads }
    }

    /// Follows what is done to a tenant's keys that begin with a prefix: after the change of this number, where that is known still,
    /// and else from now on; and which of both.
    pub fn watch(&self, tenant: &str, prefix: &str, after: Option<u64>) -> (Watcher, bool) {
        Watcher::new(&self.0.changes, tenant, prefix, after)
    }

    /// Tells those who watch.
    pub(crate) fn tell(&self, tenant: &str, change: Change) {
        let changes = &self.0.changes;
        changes.add(&mut changes.lock(), tenant, change);
    }

    /// Tells all who watch, of any tenant, that they have to begin anew.
    pub(crate) fn forget_changes(&self) {
        let changes = &self.0.changes;
        changes.forget_all(&mut changes.lock());
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its bounds.
    pub fn limits(&self) -> NamespaceLimits {
        self.0.quota.limits()
    }

    fn count_read(&self, is_hit: bool) {
        let Counts { hits, misses, .. } = &self.0.counts;
        if is_hit { hits } else { misses }.fetch_add(1, Ordering::Relaxed);
        self.0.metrics.read(is_hit);
    }

    /// Counts a write that went to the origin first.
    pub(crate) fn count_write(&self, is_done: bool) {
        self.0.metrics.write(is_done);
    }

    pub(crate) fn count_put(&self) {
        self.0.counts.puts.fetch_add(1, Ordering::Relaxed);
        self.0.metrics.put();
    }

    pub(crate) fn count_load(&self, load: &Load) {
        self.0.counts.loads.fetch_add(1, Ordering::Relaxed);
        self.0.metrics.loaded(load);
    }

    /// Counts a write that was refused because the key is not what was expected.
    pub fn conflict(&self) -> Conflict {
        self.0.counts.conflicts.fetch_add(1, Ordering::Relaxed);
        self.0.metrics.conflict();
        Conflict
    }
}

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// An empty namespace in this engine's store. Two of one name would share their keys.
    pub fn namespace(&self, name: &str, limits: NamespaceLimits) -> Namespace {
        self.namespace_with(name, limits, false)
    }

    /// The same of one whose keys are rows of others: what it holds can be invalidated by [`Tag::row`] and [`Tag::rows`].
    pub fn namespace_of_rows(&self, name: &str, limits: NamespaceLimits) -> Namespace {
        self.namespace_with(name, limits, true)
    }

    fn namespace_with(&self, name: &str, limits: NamespaceLimits, has_rows: bool) -> Namespace {
        let changes = Arc::new(Changes::new(limits.changes));
        let quota = Arc::new(Quota::new(limits, self.0.rules.release_by_version));
        let held = [Arc::downgrade(&quota), Arc::downgrade(&quota)];
        let metrics = self.0.metrics.namespace(name, held);
        Namespace(Arc::new(Parts { name: name.into(), quota, counts: Counts::default(), metrics, changes, has_rows }))
    }

    /// What a key holds.
    pub fn get(&self, namespace: &Namespace, tenant: &str, key: &str) -> Option<Found> {
        let place = namespace.place(tenant, key);
        let found = self.0.store.get(&place).and_then(|entry| {
            let found = self.found(&entry);
            if found.is_none() {
                self.discard(&place, &entry);
            }
            found
        });
        namespace.count_read(found.is_some());
        found
    }

    /// Puts a value, where the key holds what is expected.
    pub fn put(&self, namespace: &Namespace, write: Write<'_>) -> Result<Written, Conflict> {
        let place = namespace.place(write.tenant, write.key);
        let mut shard = self.0.flights.lock(&place);
        // Before it compares: an invalidation that comes in between reaches what is stored here.
        let epoch = self.0.validity.now();
        self.compare(namespace, &place, write.expected)?;
        let (version, now) = (self.next_version(&place), self.0.world.now());
        let put = Put::new(version, namespace.key_name(write.tenant, write.key), now.after(write.ttl));
        let tags = write.tags.iter().map(|name| namespace.tag(write.tenant, name));
        let tags = tags.chain(namespace.row_tags(write.tenant, write.key)).collect();
        let entry = Arc::new(Entry::put(write.value, tags, epoch, now, put));
        self.hold(&place, &entry);
        if self.0.rules.put_retires_loads {
            shard.retire_newest(&place);
        }
        self.tell_put(namespace, (write.tenant, write.key), &entry);
        drop(shard);
        self.make_room(namespace);
        namespace.count_put();
        Ok(Written { version, stored: self.stored_version(&place) == Some(version) })
    }

    /// Gives what a key holds a new life from now on. Its value, version and age stay.
    pub fn touch(&self, namespace: &Namespace, tenant: &str, key: &str, ttl: Duration) -> Option<Found> {
        let place = namespace.place(tenant, key);
        let _shard = self.0.flights.lock(&place);
        let entry = self.0.store.get(&place)?;
        self.found(&entry)?;
        entry.as_put()?.expire_at(self.0.world.now().after(ttl));
        self.found(&entry)
    }

    /// Deletes what a key holds, where that is what is expected; the version that it was, and that of its origin.
    pub fn delete(
        &self,
        namespace: &Namespace,
        tenant: &str,
        key: &str,
        expected: Expected,
    ) -> Result<Option<(u64, Option<u64>)>, Conflict> {
        let place = namespace.place(tenant, key);
        let mut shard = self.0.flights.lock(&place);
        self.compare(namespace, &place, expected)?;
        let current = self.0.store.get(&place).and_then(|entry| self.found(&entry));
        let version = current.map(|found| (found.version, found.of_origin));
        let last = self.version_at(&place);
        self.0.store.remove(&place);
        self.bury_deleted(&place, last);
        if self.0.rules.delete_retires_loads {
            shard.retire_newest(&place);
        }
        namespace.tell(tenant, Change::Deleted(key.into()));
        Ok(version)
    }

    /// Tells of a value that a key holds now; whether it did. The caller has the lock of its shard.
    pub(crate) fn tell_put(&self, namespace: &Namespace, (tenant, key): (&str, &str), entry: &Entry) -> bool {
        let (changes, Some(put)) = (&namespace.0.changes, entry.as_put()) else { return false };
        let mut log = changes.lock();
        // Where its tags have been invalidated meanwhile, that is in the log, and what comes after it must be alive.
        let is_alive = self.0.validity.tags_hold(&entry.tags, entry.epoch);
        if is_alive {
            changes.add(&mut log, tenant, Change::Put { key: key.into(), version: (put.version, put.of_origin) });
        }
        is_alive
    }

    /// Stores what a key of a namespace holds from now on. The caller has the lock of its shard.
    pub(crate) fn hold(&self, place: &Key, entry: &Arc<Entry>) {
        entry.admit(*place);
        self.0.store.insert(*place, Arc::clone(entry));
    }

    /// Drops what was put first, until the quota holds.
    pub(crate) fn make_room(&self, namespace: &Namespace) {
        while self.0.rules.quota
            && let Some(oldest) = namespace.0.quota.excess()
        {
            self.0.store.remove(&oldest);
        }
    }

    pub(crate) fn found(&self, entry: &Entry) -> Option<Found> {
        let (value, put) = (entry.value()?, entry.as_put()?);
        let is_valid = self.0.validity.tags_hold(&entry.tags, entry.epoch);
        let now = self.0.world.now();
        let ttl = put.expires().since(now);
        (is_valid && now < put.expires()).then(|| Found {
            value: value.clone(),
            version: put.version,
            of_origin: put.of_origin,
            age: now.since(entry.started),
            ttl,
        })
    }

    fn compare(&self, namespace: &Namespace, place: &Key, expected: Expected) -> Result<(), Conflict> {
        let rules = &self.0.rules;
        if !rules.compare || expected == Expected::Anything {
            return Ok(());
        }
        let current = self.0.store.get(place).filter(|entry| !rules.absent_when_dead || self.found(entry).is_some());
        let current = current.as_ref().and_then(|entry| entry.as_put());
        let holds = match expected {
            Expected::Anything => true,
            Expected::Nothing => current.is_none(),
            Expected::Version(version) => current.is_some_and(|put| put.version == version),
            Expected::OfOrigin(version) => current.is_some_and(|put| put.of_origin == Some(version)),
        };
        if holds { Ok(()) } else { Err(namespace.conflict()) }
    }

    pub(crate) fn stored_version(&self, place: &Key) -> Option<u64> {
        Some(self.0.store.get(place)?.as_put()?.version)
    }

    pub(crate) fn next_version(&self, place: &Key) -> u64 {
        if !self.0.rules.unique_versions {
            // Unique in the store, where it names an entry, but not over time.
            let shard = u64::try_from(place.shard(1 << 16)).unwrap_or_default();
            return self.stored_version(place).map_or(shard << 32, |version| version + 1);
        }
        self.0.versions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Frees the memory of what is absent already, unless something else has been put meanwhile.
    fn discard(&self, place: &Key, dead: &Arc<Entry>) {
        let _shard = self.0.flights.lock(place);
        if self.0.store.get(place).is_some_and(|entry| Arc::ptr_eq(&entry, dead)) {
            self.0.store.remove(place);
        }
    }
}
