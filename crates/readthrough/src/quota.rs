//! The quota of a namespace: which of its keys are in memory, in which order they were put, and how many bytes they are.
//!
//! The store is bounded over all entries, and chooses itself what leaves; the quota bounds one namespace within it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::key::Key;
use crate::world::Moment;

/// What an entry of a namespace costs beside its value and what every entry costs: its name, which is kept once, and its
/// places in two ordered maps.
const OVERHEAD: usize = 256;

/// Bounds of a namespace.
#[derive(Clone, Copy, Debug)]
pub struct NamespaceLimits {
    /// Bytes of its entries, with what it costs to keep them.
    pub bytes: u64,
    /// Its entries.
    pub entries: u64,
    /// Its changes that are remembered for those who watch it.
    pub changes: usize,
}

/// The name of an entry: no two tenants share one.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    tenant: Box<str>,
    key: Box<str>,
}

impl Name {
    fn new(tenant: &str, key: &str) -> Self {
        Self { tenant: tenant.into(), key: key.into() }
    }

    fn begins_with(&self, tenant: &str, prefix: &str) -> bool {
        &*self.tenant == tenant && self.key.starts_with(prefix)
    }
}

/// A name in its namespace.
#[derive(Clone, Debug)]
pub(crate) struct KeyName {
    name: Arc<Name>,
    quota: Arc<Quota>,
}

impl KeyName {
    pub(crate) fn new(quota: &Arc<Quota>, tenant: &str, key: &str) -> Self {
        Self { name: Arc::new(Name::new(tenant, key)), quota: Arc::clone(quota) }
    }

    /// Whether it is a key of this namespace, and one of the tenant's that begin with the prefix where these are given.
    pub(crate) fn is_of(&self, quota: &Arc<Quota>, of: Option<(&str, &str)>) -> bool {
        Arc::ptr_eq(&self.quota, quota) && of.is_none_or(|(tenant, prefix)| self.name.begins_with(tenant, prefix))
    }
}

/// What an entry knows that a key of a namespace holds.
#[derive(Debug)]
pub(crate) struct Put {
    /// Higher than that of every entry put before, whatever its key, and never used again.
    pub(crate) version: u64,
    /// The version that its origin gave it.
    pub(crate) of_origin: Option<u64>,
    of: KeyName,
    /// When its life ends, in nanoseconds. Touching an entry moves this and nothing else: what was invalidated stays so.
    expires: AtomicU64,
}

impl Put {
    pub(crate) fn new(version: u64, of: KeyName, expires: Moment) -> Self {
        Self { version, of_origin: None, of, expires: AtomicU64::new(expires.0) }
    }

    /// The same with the version that its origin gave it.
    pub(crate) fn of_origin(self, version: Option<u64>) -> Self {
        Self { of_origin: version, ..self }
    }

    pub(crate) fn expires(&self) -> Moment {
        Moment(self.expires.load(Ordering::Relaxed))
    }

    pub(crate) fn expire_at(&self, moment: Moment) {
        self.expires.store(moment.0, Ordering::Relaxed);
    }

    /// Bytes of memory beside the value.
    pub(crate) fn weight(&self) -> usize {
        self.of.name.tenant.len() + self.of.name.key.len() + OVERHEAD
    }

    /// Counts an entry of this weight before it goes into the store.
    pub(crate) fn admit(&self, key: Key, weight: usize) {
        let weight = weight as u64;
        let KeyName { name, quota } = &self.of;
        let mut held = quota.lock();
        held.bytes += weight;
        held.newest.insert(Arc::clone(name), (key, self.version));
        held.by_age.insert(self.version, Record { name: Arc::clone(name), key, weight });
    }

    /// The entry has left the store, whatever the cause.
    pub(crate) fn release(&self) {
        let quota = &self.of.quota;
        quota.lock().forget(self.version, quota.release_by_version);
    }
}

/// What is in memory of one namespace.
#[derive(Debug)]
pub(crate) struct Quota {
    limits: NamespaceLimits,
    release_by_version: bool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: u64,
    /// The newest entry of each name: what an invalidation by prefix looks through.
    newest: BTreeMap<Arc<Name>, (Key, u64)>,
    /// All entries by their version, and so by their age.
    by_age: BTreeMap<u64, Record>,
}

#[derive(Debug)]
struct Record {
    name: Arc<Name>,
    key: Key,
    weight: u64,
}

impl Held {
    /// Takes an entry out of the count; nothing where it is out already.
    ///
    /// An entry that was replaced leaves after the new one came, whose place under the name must stay.
    fn forget(&mut self, version: u64, by_version: bool) -> Option<Key> {
        let record = self.by_age.remove(&version)?;
        self.bytes -= record.weight;
        let is_newest = self.newest.get(&record.name).is_some_and(|(_, newest)| *newest == version);
        if is_newest || !by_version {
            self.newest.remove(&record.name);
        }
        Some(record.key)
    }
}

impl Quota {
    /// Without `release_by_version`, an entry that was replaced takes its successor's name with it.
    pub(crate) fn new(limits: NamespaceLimits, release_by_version: bool) -> Self {
        Self { limits, release_by_version, held: Mutex::default() }
    }

    pub(crate) fn limits(&self) -> NamespaceLimits {
        self.limits
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    pub(crate) fn entries(&self) -> u64 {
        self.lock().by_age.len() as u64
    }

    /// Where there is more than the limits allow: the place of the oldest entry, which the caller drops from the store.
    pub(crate) fn excess(&self) -> Option<Key> {
        let mut held = self.lock();
        if held.bytes <= self.limits.bytes && held.by_age.len() as u64 <= self.limits.entries {
            return None;
        }
        let (oldest, _) = held.by_age.first_key_value()?;
        let oldest = *oldest;
        held.forget(oldest, self.release_by_version)
    }

    /// Up to `most` places, of a tenant's keys that begin with the prefix where these are given, after the one of `after`; and the
    /// last of them.
    pub(crate) fn places(
        &self,
        of: Option<(&str, &str)>,
        after: Option<&Arc<Name>>,
        most: usize,
    ) -> (Vec<Key>, Option<Arc<Name>>) {
        let (tenant, prefix) = of.unwrap_or_default();
        let first = Arc::new(Name::new(tenant, prefix));
        let start = after.map_or(Bound::Included(&first), Bound::Excluded);
        let held = self.lock();
        let matching = held.newest.range::<Arc<Name>, _>((start, Bound::Unbounded));
        let matching = matching.take_while(|(name, _)| of.is_none() || name.begins_with(tenant, prefix)).take(most);
        let (names, places): (Vec<_>, Vec<_>) = matching.map(|(name, (place, _))| (name, *place)).unzip();
        (places, names.last().map(|name| Arc::clone(name)))
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
