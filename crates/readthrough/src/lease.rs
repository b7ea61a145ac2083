//! Leases: the right to answer from one's own memory for a short time, and who holds which.
//!
//! A holder counts its lease from when it asked, and a little less than it was given; the grantor counts in full from when it
//! answers. So a lease is over at its holder before it is over here, whatever the network did in between, as long as the two
//! clocks' rates differ by less than two percent. What ends leases early is nothing: a writer waits for them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::key::Tag;
use crate::world::Moment;

/// Many shards, so that grants of different tags seldom meet.
const SHARDS: usize = 64;

/// A tag that was invalidated a shorter time ago is leased to nobody: keys that are written all the time never make writers
/// wait.
const QUIET: Duration = Duration::from_secs(1);

/// Who may hold leases: one life of a process, never its name. Two lives of one name may overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LeaseHolder(pub u128);

/// A reader that would keep the answer in its own memory.
#[derive(Clone, Copy, Debug)]
pub struct LeaseRequest {
    /// Who it is.
    pub holder: LeaseHolder,
    /// For how long; the engine's maximum bounds it.
    pub duration: Duration,
    /// Writers don't wait for it: the contract declares that staleness.
    pub is_bounded: bool,
}

/// A lease, as it is given with an answer.
#[derive(Clone, Debug)]
pub struct Granted {
    /// For how long, counted by the holder from when its request left.
    pub duration: Duration,
    /// The tags of the answer: its holder drops it when it invalidates one of them itself.
    pub tags: Arc<[Tag]>,
}

/// Until when leases last, by tag. Bounded: what is forgotten counts for every tag that is not known.
#[derive(Debug)]
pub(crate) struct Leases {
    max: Duration,
    /// When the first lease time ends: then all that a process before this one granted is over.
    first_ends: AtomicU64,
    /// Without it, only the holder of the longest lease is known.
    keeps_two: bool,
    shards: Box<[Mutex<Shard>]>,
}

impl Leases {
    /// Knows about `capacity` tags one by one. A `max` of nothing: there are no leases.
    pub(crate) fn new(capacity: usize, max: Duration, first_ends: Moment, keeps_two: bool) -> Self {
        let shards = SHARDS.min(capacity.max(1));
        let shard = || Mutex::new(Shard { capacity: capacity.div_ceil(shards), ..Shard::default() });
        let first_ends = AtomicU64::new(first_ends.0);
        Self { max, first_ends, keeps_two, shards: (0..shards).map(|_| shard()).collect() }
    }

    /// The longest lease.
    pub(crate) fn max(&self) -> Duration {
        self.max
    }

    pub(crate) fn first_ends(&self) -> Moment {
        Moment(self.first_ends.load(Ordering::SeqCst))
    }

    /// A first lease time begins anew.
    pub(crate) fn begin_first(&self, ends: Moment) {
        self.first_ends.fetch_max(ends.0, Ordering::SeqCst);
    }

    /// Whether this is in the first lease time, in which a process before this one may still have to be reckoned with.
    pub(crate) fn is_first(&self, at: Moment) -> bool {
        at < self.first_ends()
    }

    /// Whether one of the tags was invalidated a short time ago.
    pub(crate) fn is_restless(&self, tags: &[Tag], now: Moment) -> bool {
        let ended = |tag: &Tag| self.shard(*tag).notes.get(tag).and_then(|note| note.invalidated);
        tags.iter().filter_map(ended).any(|ended| now.since(ended) < QUIET)
    }

    /// Notes that somebody may hold a lease on entries with these tags.
    pub(crate) fn note(&self, tags: &[Tag], holder: LeaseHolder, now: Moment, until: Moment) {
        for tag in tags {
            let mut shard = self.shard(*tag);
            shard.note(*tag, now).latest.note(holder, until, self.keeps_two);
            shard.latest.note(holder, until, self.keeps_two);
        }
        if tags.is_empty() {
            // Only an invalidation of everything reaches it.
            lock(&self.shards[0]).latest.note(holder, until, self.keeps_two);
        }
    }

    /// Notes that a tag was invalidated; until when others than the writer may hold leases on it.
    pub(crate) fn invalidated(&self, tag: Tag, writer: Option<LeaseHolder>, now: Moment) -> Moment {
        if self.max.is_zero() {
            return Moment::default();
        }
        let mut shard = self.shard(tag);
        let note = shard.note(tag, now);
        note.invalidated = Some(now);
        let until = note.latest.except(writer);
        until.max(shard.floor.except(writer))
    }

    /// Until when others than the writer may hold leases on anything.
    pub(crate) fn latest(&self, writer: Option<LeaseHolder>) -> Moment {
        self.shards.iter().map(|shard| lock(shard).latest.except(writer)).max().unwrap_or_default()
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the remainder counts")]
    fn shard(&self, tag: Tag) -> MutexGuard<'_, Shard> {
        lock(&self.shards[tag.0 as usize % self.shards.len()])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
struct Shard {
    capacity: usize,
    notes: HashMap<Tag, Note>,
    /// The leases of tags that were forgotten.
    floor: Latest,
    /// The leases of all tags.
    latest: Latest,
}

#[derive(Clone, Copy, Debug, Default)]
struct Note {
    latest: Latest,
    invalidated: Option<Moment>,
}

impl Note {
    fn matters(&self, now: Moment) -> bool {
        self.latest.except(None) > now || self.invalidated.is_some_and(|ended| now.since(ended) < QUIET)
    }
}

impl Shard {
    fn note(&mut self, tag: Tag, now: Moment) -> &mut Note {
        if self.notes.len() >= self.capacity && !self.notes.contains_key(&tag) {
            self.forget(now);
        }
        self.notes.entry(tag).or_default()
    }

    /// Forgets what is over; and everything, where that is too little: so this is seldom.
    fn forget(&mut self, now: Moment) {
        self.notes.retain(|_, note| note.matters(now));
        if self.notes.len() > self.capacity / 2 {
            for (_, note) in self.notes.drain() {
                self.floor.absorb(&note.latest);
            }
        }
    }
}

/// How long the leases of the two holders last whose last longest: so that one of them, a writer, can be left out.
#[derive(Clone, Copy, Debug, Default)]
struct Latest([(LeaseHolder, Moment); 2]);

impl Latest {
    fn note(&mut self, holder: LeaseHolder, until: Moment, keeps_two: bool) {
        let [first, second] = &mut self.0;
        if first.0 == holder {
            first.1 = first.1.max(until);
        } else if second.0 == holder {
            second.1 = second.1.max(until);
        } else if until > second.1 {
            *second = (holder, until);
        }
        if second.1 > first.1 {
            std::mem::swap(first, second);
        }
        if !keeps_two {
            *second = <(LeaseHolder, Moment)>::default();
        }
    }

    fn absorb(&mut self, other: &Self) {
        for (holder, until) in other.0 {
            self.note(holder, until, true);
        }
    }

    fn except(&self, writer: Option<LeaseHolder>) -> Moment {
        let [first, second] = self.0;
        if writer == Some(first.0) { second.1 } else { first.1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_millis(200);
    const ADA: LeaseHolder = LeaseHolder(1);
    const BOB: LeaseHolder = LeaseHolder(2);
    const EVE: LeaseHolder = LeaseHolder(3);

    fn at(milliseconds: u64) -> Moment {
        Moment(milliseconds * 1_000_000)
    }

    fn leases(capacity: usize) -> Leases {
        Leases::new(capacity, MAX, at(0).after(MAX), true)
    }

    fn milk() -> Tag {
        Tag::named("product/milk")
    }

    #[test]
    fn writer_waits_for_longest_lease_of_others() {
        let leases = leases(100);
        for (holder, until) in [(ADA, 700), (BOB, 900), (EVE, 800), (ADA, 600)] {
            leases.note(&[milk()], holder, at(500), at(until));
        }
        assert_eq!(leases.invalidated(milk(), Some(BOB), at(500)), at(800));
        assert_eq!(leases.invalidated(milk(), Some(ADA), at(500)), at(900));
        assert_eq!(leases.invalidated(milk(), None, at(500)), at(900));
    }

    #[test]
    fn tag_that_only_its_writer_holds_needs_no_wait() {
        let leases = leases(100);
        leases.note(&[milk()], ADA, at(500), at(700));
        assert!(leases.invalidated(milk(), Some(ADA), at(500)) <= at(500));
        assert!(leases.invalidated(Tag::named("product/bread"), None, at(500)) <= at(500));
    }

    #[test]
    fn invalidation_of_everything_waits_for_maximum_over_all_tags() {
        let leases = leases(100);
        leases.note(&[milk()], ADA, at(500), at(700));
        leases.note(&[], BOB, at(500), at(650));
        assert_eq!(leases.latest(None), at(700));
        assert_eq!(leases.latest(Some(ADA)), at(650));
    }

    #[test]
    fn leases_of_forgotten_tags_are_waited_for_with_their_holders() {
        let leases = leases(1);
        leases.note(&[milk()], ADA, at(500), at(700));
        leases.note(&[Tag::named("product/bread")], BOB, at(500), at(690));
        leases.note(&[Tag::named("product/eggs")], BOB, at(500), at(600));
        assert_eq!(leases.invalidated(milk(), None, at(500)), at(700));
        assert_eq!(leases.invalidated(milk(), Some(ADA), at(500)), at(690));
    }

    #[test]
    fn notes_stay_within_capacity() {
        let leases = leases(128);
        for n in 0..10_000 {
            leases.note(&[Tag::named(&format!("product/{n}"))], ADA, at(500), at(700));
        }
        let known = leases.shards.iter().map(|shard| lock(shard).notes.len()).sum::<usize>();
        assert!(known <= 128, "{known}");
    }

    #[test]
    fn tag_is_restless_for_a_second_after_its_invalidation() {
        let leases = leases(100);
        leases.invalidated(milk(), None, at(500));
        assert!(leases.is_restless(&[milk()], at(1_499)));
        assert!(!leases.is_restless(&[milk()], at(1_500)));
    }
}
