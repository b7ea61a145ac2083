//! Cache entry: a stored answer, and whether it is fresh, stale or unusable at a moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::answer::{Failure, Load};
use crate::key::{Key, Tag};
use crate::load_span::LoadSpan;
use crate::policy::{ConsistencyRequirement, Policy};
use crate::quota::Put;
use crate::validity::Epoch;
use crate::versions::{Left, Versioned};
use crate::world::Moment;

/// What an entry costs beside its bytes: the entry itself, its slot, and what moka keeps to find it and to weigh it up.
/// Measured as 480 to 515 bytes with 50,000 to 270,000 entries without metadata (`tests/overhead.rs`, which sees to it that it
/// stays below); the rest is for what the allocator adds to message and metadata.
const OVERHEAD: usize = 540;

/// An answer in memory. There are as many as memory holds, so that what few of them have lies apart.
#[derive(Debug)]
pub struct Entry {
    /// What the origin said.
    load: Result<Bytes, Box<Failure>>,
    /// The epoch in which its load started.
    pub(crate) epoch: Epoch,
    /// When its load started: its age counts from here.
    pub(crate) started: Moment,
    /// How long it took, in microseconds.
    took: u32,
    /// The part of the declared lifetime that this entry has, in billionths.
    share: u32,
    /// Where it stands among all loads.
    pub(crate) span: LoadSpan,
    /// What its tags are.
    pub(crate) tags: Arc<[Tag]>,
    /// Until when the origin is left alone after a failure, in nanoseconds.
    cool_down_ends: AtomicU64,
    rare: Option<Box<Rare>>,
}

/// What few entries have.
#[derive(Debug, Default)]
struct Rare {
    /// What is kept of its metadata.
    metadata: Bytes,
    /// What else is known of it where a key of a namespace holds it.
    put: Option<Box<Put>>,
    /// The version that its origin gave it.
    version: Option<Box<Versioned>>,
}

/// What an entry is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usability {
    /// An answer.
    Fresh,
    /// An answer while one reload runs behind it.
    WhileRevalidating,
    /// An answer if the origin fails.
    IfError,
    /// Nothing.
    Unusable,
}

impl Entry {
    /// `share` is the part of the declared lifetime that it has, so that entries loaded together don't expire together.
    pub(crate) fn new(
        load: Load,
        metadata: Bytes,
        epoch: Epoch,
        started: Moment,
        tags: Arc<[Tag]>,
        share: f64,
    ) -> Self {
        let share = u32::try_from(Duration::from_secs_f64(share).as_nanos()).unwrap_or(u32::MAX);
        let rare = (!metadata.is_empty()).then(|| Box::new(Rare { metadata, ..Rare::default() }));
        let (load, cool_down_ends, span) = (load.map_err(Box::new), AtomicU64::new(0), LoadSpan::default());
        Self { load, epoch, started, took: 0, share, span, tags, cool_down_ends, rare }
    }

    /// The same, with how long its load took.
    pub(crate) fn loaded_in(self, took: Duration) -> Self {
        Self { took: u32::try_from(took.as_micros()).unwrap_or(u32::MAX), ..self }
    }

    /// The same, with where its load stands.
    pub(crate) fn of_load(self, span: LoadSpan) -> Self {
        Self { span, ..self }
    }

    /// A value of a key of a namespace: put at this moment, or loaded since then.
    pub(crate) fn put(value: Bytes, tags: Arc<[Tag]>, epoch: Epoch, since: Moment, put: Put) -> Self {
        let entry = Self::new(Ok(value), Bytes::new(), epoch, since, tags, 1.0);
        Self { rare: Some(Box::new(Rare { put: Some(Box::new(put)), ..Rare::default() })), ..entry }
    }

    /// The same, with the version that its origin gave it.
    pub(crate) fn versioned(mut self, version: Option<Versioned>) -> Self {
        if version.is_some() {
            self.rare.get_or_insert_default().version = version.map(Box::new);
        }
        self
    }

    /// What the origin said.
    pub(crate) fn load(&self) -> Load {
        self.load.clone().map_err(|failure| *failure)
    }

    pub(crate) fn value(&self) -> Option<&Bytes> {
        self.load.as_ref().ok()
    }

    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.load.as_ref().err().map(Box::as_ref)
    }

    /// What is kept of its metadata.
    pub(crate) fn metadata(&self) -> Bytes {
        self.rare.as_ref().map(|rare| rare.metadata.clone()).unwrap_or_default()
    }

    /// The part of the declared lifetime that it has.
    pub(crate) fn share(&self) -> f64 {
        f64::from(self.share) / 1e9
    }

    /// How long its load took.
    pub(crate) fn took(&self) -> Duration {
        Duration::from_micros(self.took.into())
    }

    /// The version that its origin gave it.
    pub(crate) fn version(&self) -> Option<u64> {
        self.as_versioned().map(|version| version.number)
    }

    pub(crate) fn as_versioned(&self) -> Option<&Versioned> {
        self.rare.as_ref()?.version.as_deref()
    }

    pub(crate) fn as_put(&self) -> Option<&Put> {
        self.rare.as_ref()?.put.as_deref()
    }

    /// Counts it in the quota of its namespace, if it has one, before it goes into the store.
    pub(crate) fn admit(&self, place: Key) {
        if let Some(put) = self.as_put() {
            put.admit(place, self.weight());
        }
    }

    /// It has left the store: takes it out of the quota of its namespace, and remembers its version where one is needed.
    pub(crate) fn release(&self, left: Left) {
        if let Some(put) = self.as_put() {
            put.release();
        }
        if let Some(version) = self.as_versioned() {
            version.release(left, &self.tags, self.epoch);
        }
    }

    /// Bytes of memory.
    pub fn weight(&self) -> usize {
        let load = match &self.load {
            Ok(message) => message.len(),
            Err(failure) => failure.message.len() + failure.details.len() + size_of::<Failure>(),
        };
        let rare = self.rare.as_ref().map_or(0, |rare| {
            let version = rare.version.as_ref().map_or(0, |_| size_of::<Versioned>());
            rare.metadata.len() + size_of::<Rare>() + version + rare.put.as_ref().map_or(0, |put| put.weight())
        });
        load + size_of_val(&*self.tags) + rare + OVERHEAD
    }

    /// How long it is fresh. The contract that counts is the reader's, not the one of the time of the load.
    pub(crate) fn lifetime(&self, policy: &Policy) -> Duration {
        let declared = if self.load.is_ok() { policy.ttl } else { policy.negative_ttl };
        declared.mul_f64(self.share())
    }

    pub(crate) fn usability(&self, policy: &Policy, consistency: ConsistencyRequirement, now: Moment) -> Usability {
        let age = now.since(self.started);
        let lifetime = self.lifetime(policy);
        match consistency {
            ConsistencyRequirement::Strong => return Usability::Unusable,
            ConsistencyRequirement::MaxStaleness(bound) if age > bound => return Usability::Unusable,
            ConsistencyRequirement::MaxStaleness(_) | ConsistencyRequirement::MinimizeLatency => {}
        }
        if age < lifetime {
            Usability::Fresh
        } else if self.load.is_err() {
            Usability::Unusable
        } else if age < lifetime + policy.stale_while_revalidate {
            Usability::WhileRevalidating
        } else if age < lifetime + policy.stale_if_error {
            Usability::IfError
        } else {
            Usability::Unusable
        }
    }

    /// Whether the origin failed a short time ago and is left alone.
    pub(crate) fn is_cooling_down(&self, now: Moment) -> bool {
        now.0 < self.cool_down_ends.load(Ordering::Relaxed)
    }

    pub(crate) fn cool_down_until(&self, until: Moment) {
        self.cool_down_ends.store(until.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validity::Validity;

    const POLICY: Policy = Policy {
        ttl: Duration::from_secs(10),
        stale_while_revalidate: Duration::from_secs(5),
        stale_if_error: Duration::from_mins(1),
        negative_ttl: Duration::from_secs(1),
        max_bytes: 1024,
    };

    fn entry(load: Load) -> Entry {
        Entry::new(load, Bytes::new(), Validity::new(1, true).now(), Moment::default(), Arc::default(), 1.0)
    }

    fn at(seconds: u64) -> Moment {
        Moment::default().after(Duration::from_secs(seconds))
    }

    #[test]
    fn value_becomes_stale_then_unusable_with_age() {
        let entry = entry(Ok(Bytes::from_static(b"milk")));
        let judged = |seconds| entry.usability(&POLICY, ConsistencyRequirement::MinimizeLatency, at(seconds));
        assert_eq!(judged(9), Usability::Fresh);
        assert_eq!(judged(10), Usability::WhileRevalidating);
        assert_eq!(judged(15), Usability::IfError);
        assert_eq!(judged(70), Usability::Unusable);
    }

    #[test]
    fn consistency_requirement_narrows_policy_and_never_widens_it() {
        let entry = entry(Ok(Bytes::from_static(b"milk")));
        let within = |bound, seconds| {
            entry.usability(&POLICY, ConsistencyRequirement::MaxStaleness(Duration::from_secs(bound)), at(seconds))
        };
        assert_eq!(within(3, 3), Usability::Fresh);
        assert_eq!(within(3, 4), Usability::Unusable);
        assert_eq!(within(1000, 70), Usability::Unusable);
        assert_eq!(entry.usability(&POLICY, ConsistencyRequirement::Strong, at(0)), Usability::Unusable);
    }

    #[test]
    fn negative_entry_has_negative_ttl_and_no_stale_use() {
        let entry = entry(Err(Failure { code: 5, ..Failure::default() }));
        assert_eq!(entry.usability(&POLICY, ConsistencyRequirement::MinimizeLatency, at(0)), Usability::Fresh);
        assert_eq!(entry.usability(&POLICY, ConsistencyRequirement::MinimizeLatency, at(1)), Usability::Unusable);
    }

    #[test]
    fn weight_counts_message_metadata_and_tags() {
        let bare = entry(Ok(Bytes::new())).weight();
        let of = |load, metadata: &'static [u8], tags| {
            let (metadata, epoch) = (Bytes::from_static(metadata), Validity::new(1, true).now());
            Entry::new(load, metadata, epoch, Moment::default(), tags, 1.0).weight() - bare
        };
        assert_eq!(of(Ok(Bytes::from_static(b"milk")), b"", Arc::default()), 4);
        assert_eq!(of(Ok(Bytes::from_static(b"milk")), b"etag=7", Arc::default()), 4 + 6 + size_of::<Rare>());
        assert_eq!(of(Ok(Bytes::new()), b"", Arc::new([Tag::named("product/milk")])), size_of::<Tag>());
        let absence = Failure { code: 5, message: "none".to_owned(), details: Bytes::from_static(b"why") };
        let beside = size_of::<Failure>() + size_of::<Rare>();
        assert_eq!(of(Err(absence), b"etag=7", Arc::default()), 4 + 3 + 6 + beside);
    }

    #[test]
    fn shorter_ttl_counts_for_stored_entry() {
        let entry = entry(Ok(Bytes::from_static(b"milk")));
        let shorter = Policy { ttl: Duration::from_secs(1), stale_while_revalidate: Duration::ZERO, ..POLICY };
        assert_eq!(entry.usability(&shorter, ConsistencyRequirement::MinimizeLatency, at(2)), Usability::IfError);
    }
}
