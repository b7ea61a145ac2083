//! Namespaces (key/value spaces): what they are, what their keys hold, and what is put there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::answer::Load;
use crate::changes::{Changes, Watcher};
use crate::key::{Audience, Identity, Key, Tag};
use crate::load_span::LoadSpan;
use crate::metrics::NamespaceMetrics;
use crate::quota::{KeyName, NamespaceLimits, Quota};

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
    /// Counts what was done to keys that no write which was under way by then may undo.
    generation: AtomicU64,
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
    /// Where the load or the write stands that brought it.
    pub span: LoadSpan,
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
    /// Where it stands among loads and writes.
    pub span: LoadSpan,
}

/// The key does not hold what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key does not hold the version expected")]
pub struct Conflict;

impl Namespace {
    pub(crate) fn new(
        (name, has_rows): (&str, bool),
        changes: usize,
        quota: Arc<Quota>,
        metrics: NamespaceMetrics,
    ) -> Self {
        let (name, counts, changes) = (name.into(), Counts::default(), Arc::new(Changes::new(changes)));
        let generation = AtomicU64::new(0);
        Self(Arc::new(Parts { name, quota, counts, metrics, changes, generation, has_rows }))
    }

    /// Writes that are under way keep nothing: what they wrote may be older than what the origin has by now.
    pub(crate) fn end_generation(&self) {
        self.0.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Of writes that begin now.
    pub(crate) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::SeqCst)
    }

    /// The place of what a key holds.
    pub fn place(&self, tenant: &str, key: &str) -> Key {
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

    /// The number of the newest change.
    pub fn newest_change(&self) -> u64 {
        self.0.changes.newest()
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

    pub(crate) fn count_read(&self, is_hit: bool) {
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
