//! Cache invalidation: what has been invalidated, and when. Time is counted in epochs: each invalidation ends one.
//!
//! An entry remembers the epoch in which its load *started*. It is dead once one of its tags was invalidated in that epoch
//! or a later one: then the load may have read what the invalidation was about.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::key::Tag;
use crate::log::Record;
use crate::log_history::History;
use crate::position::Position;
use crate::shared_value::{Rules, SharedMiss};

/// Many shards, so that hits of different tags seldom meet.
const SHARDS: usize = 64;

/// A time between two invalidations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(u64);

/// The record of invalidations. Bounded: what it forgets it takes as invalidated.
#[derive(Debug)]
pub(crate) struct Validity {
    history: RwLock<History>,
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
            history: RwLock::default(),
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

    /// Kills what was loaded under a tag so far. Holds for every look that starts after this returns. What an expiring tag kills
    /// may be served while its origin fails.
    pub(crate) fn invalidate(&self, tag: Tag) {
        let number = self.position().map_or(0, |position| position.number);
        let mut shard = self.shard(tag.base()).write().unwrap_or_else(PoisonError::into_inner);
        // The epoch ends under the lock: so the records of a shard only ever move forward.
        shard.record(tag, Last { epoch: self.end_epoch(), number, ..Last::default() });
    }

    /// Kills everything that was loaded so far. Not what was put: of that, no invalidation can have been missed.
    pub(crate) fn invalidate_all(&self) {
        self.everything.fetch_max(self.end_epoch(), Ordering::SeqCst);
    }

    /// Whether nothing of this was invalidated in the epoch `since` or later.
    pub(crate) fn holds(&self, tags: &[Tag], since: Epoch) -> bool {
        self.everything.load(Ordering::SeqCst) < since.0 && self.tags_hold(tags, since)
    }

    /// Whether this may be served while its origin fails: nothing of it was deleted, though it may have expired.
    pub(crate) fn permits_stale(&self, tags: &[Tag], since: Epoch) -> bool {
        let deleted = |tag: &Tag| self.read(*tag).last(*tag).deleted;
        self.everything.load(Ordering::SeqCst) < since.0 && tags.iter().all(|tag| deleted(tag) < since.0)
    }

    /// Whether it holds, for what [`Validity::invalidate_all`] does not concern.
    pub(crate) fn tags_hold(&self, tags: &[Tag], since: Epoch) -> bool {
        tags.iter().all(|tag| self.read(*tag).last(*tag).epoch < since.0)
    }

    fn read(&self, tag: Tag) -> RwLockReadGuard<'_, Shard> {
        self.shard(tag).read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A log begins here: what comes after this number will be read. Its mark, where that is known.
    pub(crate) fn begin_log(&self, log: u128, before: (u64, Option<u64>)) {
        let mut history = self.history.write().unwrap_or_else(PoisonError::into_inner);
        *history = History::begin(log, before);
        for shard in &self.shards {
            shard.write().unwrap_or_else(PoisonError::into_inner).forget_numbers();
        }
    }

    /// A record was read: now its epochs are to be ended.
    pub(crate) fn reach(&self, record: &Record) {
        self.history.write().unwrap_or_else(PoisonError::into_inner).reach(record);
    }

    /// How much of which log was read: what starts now has seen all of that.
    pub(crate) fn position(&self) -> Option<Position> {
        self.history.read().unwrap_or_else(PoisonError::into_inner).position()
    }

    /// Whether nothing of this was invalidated by a later number than this one, as far as is known.
    pub(crate) fn holds_since(&self, tags: &[Tag], since: Position, rules: Rules) -> Result<(), SharedMiss> {
        let history = self.history.read().unwrap_or_else(PoisonError::into_inner);
        history.knows(since, rules)?;
        let holds =
            history.has_not_flushed(since) && tags.iter().all(|tag| self.read(*tag).last(*tag).number <= since.number);
        if holds || !rules.judged { Ok(()) } else { Err(SharedMiss::Invalidated) }
    }

    fn end_epoch(&self) -> u64 {
        self.current.fetch_add(1, Ordering::SeqCst)
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the remainder counts")]
    fn shard(&self, tag: Tag) -> &RwLock<Shard> {
        &self.shards[tag.0 as usize % self.shards.len()]
    }
}

/// When a tag was invalidated last.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    epoch: u64,
    /// The same for invalidations that delete what has it.
    deleted: u64,
    /// Of the log's record.
    number: u64,
}

#[derive(Debug)]
struct Shard {
    capacity: usize,
    floor_rises: bool,
    floor: Last,
    tags: HashMap<Tag, Last>,
    oldest: BTreeMap<u64, Tag>,
}

impl Shard {
    fn new(capacity: usize, floor_rises: bool) -> Self {
        Self { capacity, floor_rises, floor: Last::default(), tags: HashMap::new(), oldest: BTreeMap::new() }
    }

    fn last(&self, tag: Tag) -> Last {
        self.tags.get(&tag).copied().unwrap_or(self.floor)
    }

    fn record(&mut self, tag: Tag, last: Last) {
        let (is_expiring, tag) = (tag.is_expiring(), tag.base());
        let deleted = if is_expiring { self.last(tag).deleted } else { last.epoch };
        if let Some(before) = self.tags.insert(tag, Last { deleted, ..last }) {
            self.oldest.remove(&before.epoch);
        }
        self.oldest.insert(last.epoch, tag);
        while self.tags.len() > self.capacity {
            self.forget_oldest();
        }
    }

    /// Raises the floor to what is forgotten: entries from before die, so that none of them can come back to life.
    fn forget_oldest(&mut self) {
        let Some(last) = self.oldest.pop_first().and_then(|(_, tag)| self.tags.remove(&tag)) else { return };
        if self.floor_rises {
            self.floor = Last { deleted: last.epoch, ..last };
        }
    }

    /// They are of another log, or from before the oldest that is known.
    fn forget_numbers(&mut self) {
        for last in self.tags.values_mut().chain([&mut self.floor]) {
            last.number = 0;
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
    fn what_expired_permits_stale_use_until_it_is_deleted() {
        let validity = Validity::new(100, true);
        let (milk, bread) = (Tag::named("product/milk"), Tag::named("product/bread"));
        let before = validity.now();
        validity.invalidate(milk.expiring());
        assert!(!validity.holds(&[milk], before));
        assert!(validity.permits_stale(&[milk, bread], before));
        validity.invalidate(bread);
        assert!(!validity.permits_stale(&[milk, bread], before));
        validity.invalidate(milk);
        validity.invalidate(milk.expiring());
        assert!(!validity.permits_stale(&[milk], before), "what was deleted stays so");
    }

    #[test]
    fn tag_that_expired_after_its_deletion_was_forgotten_permits_no_stale_use() {
        let validity = Validity::new(1, true);
        let (milk, start) = (Tag::named("product/milk"), validity.now());
        validity.invalidate(milk);
        validity.invalidate(Tag::named("product/bread"));
        validity.invalidate(milk.expiring());
        assert!(!validity.permits_stale(&[milk], start));
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
        let known = |shard: &RwLock<Shard>| shard.read().unwrap().tags.len();
        assert!(validity.shards.iter().map(known).sum::<usize>() <= 128);
    }
}
