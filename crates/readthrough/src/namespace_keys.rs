//! Keys of namespaces: entries that callers put, in the same store as the answers that the engine loads. What a
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
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::change::Change;
use crate::engine::Engine;
use crate::entry::Entry;
use crate::key::Key;
use crate::key_requirement::KeyRequirement;
use crate::load_span::LoadSpan;
use crate::namespace::{Conflict, Expected, Found, Namespace, Write, Written};
use crate::origin::Origin;
use crate::quota::{NamespaceLimits, Put, Quota};
use crate::store::Store;
use crate::world::World;

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
        let quota = Arc::new(Quota::new(limits, self.0.rules.release_by_version));
        let held = [Arc::downgrade(&quota), Arc::downgrade(&quota)];
        let metrics = self.0.metrics.namespace(name, held);
        let namespace = Namespace::new((name, has_rows), limits.changes, quota, metrics);
        self.register(&namespace);
        namespace
    }

    /// What a key holds.
    pub fn get(&self, namespace: &Namespace, tenant: &str, key: &str) -> Option<Found> {
        self.get_required(namespace, (tenant, key), KeyRequirement::default())
    }

    /// The same where it is what the reader requires.
    pub fn get_required(
        &self,
        namespace: &Namespace,
        (tenant, key): (&str, &str),
        required: KeyRequirement,
    ) -> Option<Found> {
        let (place, asked) = (namespace.place(tenant, key), self.ask(required));
        let held = self.0.store.get(&place);
        let found = held.filter(|entry| self.key_meets(&asked, &entry.span, entry.started)).and_then(|entry| {
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
        let span = self.span_of_write(self.0.flights.take_serial());
        let entry = Arc::new(Entry::put(write.value, tags, epoch, now, put).of_load(span));
        self.hold(&place, &entry);
        if self.0.rules.put_retires_loads {
            shard.retire_newest(&place);
        }
        self.tell_put(namespace, (write.tenant, write.key), &entry);
        drop(shard);
        self.make_room(namespace);
        namespace.count_put();
        Ok(Written { version, stored: self.stored_version(&place) == Some(version), span })
    }

    /// Gives what a key holds a new life from now on. Its value, version and age stay.
    pub fn touch(&self, namespace: &Namespace, tenant: &str, key: &str, ttl: Duration) -> Option<Found> {
        let place = namespace.place(tenant, key);
        if !self.may_answer_keys() {
            return None;
        }
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
        self.tell(namespace, tenant, Change::Deleted { key: key.into(), version: last });
        Ok(version)
    }

    /// Tells of a value that a key holds now; whether it did. The caller has the lock of its shard.
    pub(crate) fn tell_put(&self, namespace: &Namespace, (tenant, key): (&str, &str), entry: &Entry) -> bool {
        let (changes, Some(put)) = (&namespace.0.changes, entry.as_put()) else { return false };
        let mut log = changes.lock();
        // Where its tags have been invalidated meanwhile, that is in the log, and what comes after it must be alive.
        let is_alive = self.0.validity.tags_hold(&entry.tags, entry.epoch);
        if is_alive && self.is_alone() {
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
        let is_valid = self.key_holds(&entry.tags, entry.epoch);
        let now = self.0.world.now();
        let ttl = put.expires().since(now);
        (is_valid && now < put.expires()).then(|| Found {
            value: value.clone(),
            version: put.version,
            of_origin: put.of_origin,
            age: now.since(entry.started),
            ttl,
            span: entry.span,
        })
    }

    /// Where a write stands that has just ended, and took this serial number when it began.
    pub(crate) fn span_of_write(&self, serial: u64) -> LoadSpan {
        LoadSpan { serial, number: self.position(), ended: self.0.flights.take_serial() }
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
