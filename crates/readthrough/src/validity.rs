//! Cache invalidation: what has been invalidated, and when. Time is counted in epochs: each invalidation ends one.
//!
//! An entry remembers the epoch in which its load *started*. It is dead once one of its tags was invalidated in that epoch
//! or a later one: then the load may have read what the invalidation was about.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::key::Tag;

/// Many shards, so that hits of different tags seldom meet.
const SHARDS: usize = 64;

/// A time between two invalidations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(u64);

/// The record of invalidations. Bounded: what it forgets it takes as invalidated.
#[derive(Debug)]
pub(crate) struct Validity {
    current: AtomicU64,
    everything: AtomicU64,
    shards: Box<[RwLock<Shard>]>,
}

impl Validity {
    /// Remembers about `capacity` tags. Without `floor`, a forgotten tag would count as never invalidated.
    pub(crate) fn new(capacity: usize, floor: bool) -> Self {
        let shards = SHARDS.min(capacity.max(1));
        let shard = || RwLock::new(Shard::new(capacity.div_ceil(shards), floor));
        Self {
            // Epoch 0 is before every load, so that nothing counts as invalidated at the start.
            current: AtomicU64::new(1),
            everything: AtomicU64::new(0),
            shards: (0..shards).map(|_| shard()).collect(),
        }
    }

    /// The current epoch.
    pub(crate) fn now(&self) -> Epoch {
        Epoch(self.current.load(Ordering::SeqCst))
    }

    /// Kills what was loaded under a tag so far. Holds for every look that starts after this returns.
    pub(crate) fn invalidate(&self, tag: Tag) {
        let mut shard = self.shard(tag).write().unwrap_or_else(PoisonError::into_inner);
        // The epoch ends under the lock: so the records of a shard only ever move forward.
        shard.record(tag, self.end_epoch());
    }

    /// Kills everything that was loaded so far. Not what was put: of that, no invalidation can have been missed.
    pub(crate) fn invalidate_all(&self) {
        self.everything.fetch_max(self.end_epoch(), Ordering::SeqCst);
    }

    /// Whether nothing of this was invalidated in the epoch `since` or later.
    pub(crate) fn holds(&self, tags: &[Tag], since: Epoch) -> bool {
        self.everything.load(Ordering::SeqCst) < since.0 && self.tags_hold(tags, since)
    }

    /// The same for what [`Validity::invalidate_all`] does not concern.
    pub(crate) fn tags_hold(&self, tags: &[Tag], since: Epoch) -> bool {
        tags.iter().all(|tag| {
            let shard = self.shard(*tag).read().unwrap_or_else(PoisonError::into_inner);
            shard.last(*tag) < since.0
        })
    }

    fn end_epoch(&self) -> u64 {
        self.current.fetch_add(1, Ordering::SeqCst)
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the remainder counts")]
    fn shard(&self, tag: Tag) -> &RwLock<Shard> {
        &self.shards[tag.0 as usize % self.shards.len()]
    }
}

#[derive(Debug)]
struct Shard {
    capacity: usize,
    floor_rises: bool,
    floor: u64,
    epochs: HashMap<Tag, u64>,
    oldest: BTreeMap<u64, Tag>,
}

impl Shard {
    fn new(capacity: usize, floor_rises: bool) -> Self {
        Self { capacity, floor_rises, floor: 0, epochs: HashMap::new(), oldest: BTreeMap::new() }
    }

    fn last(&self, tag: Tag) -> u64 {
        self.epochs.get(&tag).copied().unwrap_or(self.floor)
    }

    fn record(&mut self, tag: Tag, epoch: u64) {
        if let Some(before) = self.epochs.insert(tag, epoch) {
            self.oldest.remove(&before);
        }
        self.oldest.insert(epoch, tag);
        while self.epochs.len() > self.capacity {
            self.forget_oldest();
        }
    }

    /// Raises the floor to what is forgotten: entries from before die, so that none of them can come back to life.
    fn forget_oldest(&mut self) {
        if let Some((epoch, tag)) = self.oldest.pop_first() {
            self.epochs.remove(&tag);
            if self.floor_rises {
                self.floor = epoch;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalidation_reaches_only_loads_started_before_it() {
        let validity = Validity::new(100, true);
        let (milk, bread) = (Tag::named("product/milk"), Tag::named("product/bread"));
        let before = validity.now();
        validity.invalidate(milk);
        let after = validity.now();
        assert!(!validity.holds(&[bread, milk], before));
        assert!(validity.holds(&[bread], before));
        assert!(validity.holds(&[bread, milk], after));
    }

    #[test]
    fn invalidate_all_reaches_entries_without_tags() {
        let validity = Validity::new(100, true);
        let before = validity.now();
        validity.invalidate_all();
        assert!(!validity.holds(&[], before));
        assert!(validity.holds(&[], validity.now()));
    }

    #[test]
    fn forgotten_tag_revives_no_entry() {
        let validity = Validity::new(1, true);
        let start = validity.now();
        let milk = Tag::named("product/milk");
        validity.invalidate(milk);
        validity.invalidate(Tag::named("product/bread"));
        assert!(!validity.holds(&[milk], start));
        assert!(validity.holds(&[milk], validity.now()));
    }

    #[test]
    fn tag_records_stay_within_capacity() {
        let validity = Validity::new(128, true);
        for n in 0..10_000 {
            validity.invalidate(Tag::named(&format!("product/{n}")));
        }
        let known = |shard: &RwLock<Shard>| shard.read().unwrap().epochs.len();
        assert!(validity.shards.iter().map(known).sum::<usize>() <= 128);
    }
}
