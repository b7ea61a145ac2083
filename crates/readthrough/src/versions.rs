//! Versions that origins give their answers: a row's counter, a time of change. Their rules:
//!
//! 1. What is stored is never replaced by what is older. An origin may answer from a replica that lags, so the load that ended
//!    last says nothing of which answer is the newer one.
//! 2. That holds for what is invalid and stands in its place still. Where it leaves, and where a key is deleted, a *tombstone*
//!    stays, the least version that may be stored there. One that is deleted is not stored again at its last version.
//! 3. Tombstones are bounded. One that makes room for others raises the floor of its shard: what is older is not stored under
//!    any key of the shard.
//! 4. A version counts for a time after its origin told it, whether it is stored, a tombstone or in a floor, and a deleted one after
//!    its deletion. A replica that does not lag for as long, the time of the load included, has it by then; and a row that was
//!    deleted and created anew, whose counter began anew, is stored again.
//! 5. Versions of two keys are never compared, but by a floor, which refuses too much rather than too little.
//!
//! What is refused is answered where nothing newer may be: see `read`.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::key::{Key, Tag};
use crate::validity::{Epoch, Validity};
use crate::world::Moment;

const SHARDS: usize = 64;

/// How long a version counts after it was told, or deleted: a replica that lags for longer is one that somebody repairs.
pub(crate) const VERSION_LIFE: Duration = Duration::from_mins(10);

/// Why an entry left the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// For room.
    Evicted,
    /// Another one came, or it was taken out.
    Removed,
}

/// The version of an entry, and where it is remembered when the entry has left.
#[derive(Debug)]
pub(crate) struct Versioned {
    pub(crate) number: u64,
    /// Until when it counts.
    until: Moment,
    place: Key,
    tombstones: Arc<Tombstones>,
    /// What is newer stands in its place.
    is_superseded: AtomicBool,
}

impl Versioned {
    /// `told`: when its origin had told it.
    pub(crate) fn new(number: u64, told: Moment, place: Key, tombstones: &Arc<Tombstones>) -> Self {
        let until = told.after(tombstones.life);
        Self { number, until, place, tombstones: Arc::clone(tombstones), is_superseded: AtomicBool::new(false) }
    }

    /// The least version that may take its place; nothing where it does not count any more.
    pub(crate) fn least_at(&self, now: Moment) -> Option<u64> {
        (now < self.until).then_some(self.number)
    }

    /// What is newer takes its place: it leaves no tombstone.
    pub(crate) fn supersede(&self) {
        self.is_superseded.store(true, Ordering::Relaxed);
    }

    /// It has left the store. What is valid and made room for others leaves nothing: nobody said that it is old.
    pub(crate) fn release(&self, left: Left, tags: &[Tag], epoch: Epoch) {
        let is_needed = left == Left::Removed || !self.tombstones.validity.holds(tags, epoch);
        if is_needed && !self.is_superseded.load(Ordering::Relaxed) {
            self.tombstones.bury_until(self.place, self.number, self.until);
        }
    }
}

/// The least versions that may be stored where something left. Bounded: what it forgets raises a floor.
#[derive(Debug)]
pub(crate) struct Tombstones {
    validity: Arc<Validity>,
    /// The last moment that anybody told, in nanoseconds: it need not be exact.
    now: AtomicU64,
    serial: AtomicU64,
    life: Duration,
    floor_rises: bool,
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug, Default)]
struct Shard {
    capacity: usize,
    least: HashMap<Key, Tombstone>,
    oldest: BTreeMap<u64, Key>,
    floor: Tombstone,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tombstone {
    least: u64,
    until: Moment,
    serial: u64,
}

impl Tombstone {
    fn least_at(&self, now: Moment) -> u64 {
        if now < self.until { self.least } else { 0 }
    }
}

impl Tombstones {
    /// Remembers about `capacity` of them, each for as long as a version counts. Without `floor_rises`, what is forgotten would count
    /// as never stored.
    pub(crate) fn new(validity: Arc<Validity>, capacity: usize, life: Duration, floor_rises: bool) -> Self {
        let shards = SHARDS.min(capacity.max(1));
        let shard = || Mutex::new(Shard { capacity: capacity.div_ceil(shards), ..Shard::default() });
        let shards = (0..shards).map(|_| shard()).collect();
        Self { validity, now: AtomicU64::new(0), serial: AtomicU64::new(1), life, floor_rises, shards }
    }

    /// From now on nothing below `least` is stored at a place.
    pub(crate) fn bury(&self, place: Key, least: u64) {
        self.bury_until(place, least, self.now().after(self.life));
    }

    fn bury_until(&self, place: Key, least: u64, until: Moment) {
        let (now, serial) = (self.now(), self.serial.fetch_add(1, Ordering::Relaxed));
        if now < until {
            self.shard(&place).bury(place, Tombstone { least, until, serial }, now, self.floor_rises);
        }
    }

    /// The least version that may be stored at a place.
    pub(crate) fn least(&self, place: &Key, now: Moment) -> u64 {
        let floor = self.shard(place).floor.least_at(now);
        self.own(place, now).max(floor)
    }

    /// The same as far as it is remembered of this place alone.
    pub(crate) fn own(&self, place: &Key, now: Moment) -> u64 {
        self.tell_time(now);
        self.shard(place).least.get(place).map_or(0, |tombstone| tombstone.least_at(now))
    }

    /// It is this moment at least: what leaves the store has no clock.
    pub(crate) fn tell_time(&self, now: Moment) {
        self.now.fetch_max(now.0, Ordering::Relaxed);
    }

    fn now(&self) -> Moment {
        Moment(self.now.load(Ordering::Relaxed))
    }

    fn shard(&self, place: &Key) -> MutexGuard<'_, Shard> {
        self.shards[place.shard(self.shards.len())].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn bury(&mut self, place: Key, buried: Tombstone, now: Moment, floor_rises: bool) {
        let before = self.least.get(&place).copied().unwrap_or_default();
        self.oldest.remove(&before.serial);
        self.oldest.insert(buried.serial, place);
        let (least, until) = (buried.least.max(before.least_at(now)), buried.until.max(before.until));
        self.least.insert(place, Tombstone { least, until, ..buried });
        while self.least.len() > self.capacity || self.oldest_is_over(now) {
            let Some((_, place)) = self.oldest.pop_first() else { break };
            let forgotten = self.least.remove(&place).unwrap_or_default();
            if floor_rises && forgotten.least_at(now) > 0 {
                let least = forgotten.least.max(self.floor.least_at(now));
                self.floor = Tombstone { least, until: forgotten.until.max(self.floor.until), serial: 0 };
            }
        }
    }

    fn oldest_is_over(&self, now: Moment) -> bool {
        let oldest = self.oldest.first_key_value().and_then(|(_, place)| self.least.get(place));
        oldest.is_some_and(|oldest| now >= oldest.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Audience, Identity};

    fn place(name: &str) -> Key {
        let bytes = name.as_bytes();
        Key::of(&Identity { method: "m", origin: "o", tenant: "", audience: Audience::Shared, bytes })
    }

    fn tombstones(capacity: usize) -> Tombstones {
        Tombstones::new(Arc::new(Validity::new(1, true)), capacity, VERSION_LIFE, true)
    }

    fn at(minutes: u64) -> Moment {
        Moment::default().after(Duration::from_mins(minutes))
    }

    #[test]
    fn newest_of_two_tombstones_of_a_place_counts() {
        let tombstones = tombstones(100);
        tombstones.bury(place("milk"), 7);
        tombstones.bury(place("milk"), 3);
        assert_eq!(tombstones.least(&place("milk"), at(0)), 7);
        assert_eq!(tombstones.least(&place("bread"), at(0)), 0);
    }

    #[test]
    fn tombstone_that_made_room_raises_the_floor_of_its_shard() {
        let tombstones = tombstones(1);
        tombstones.bury(place("milk"), 7);
        tombstones.bury(place("bread"), 3);
        for (name, least) in [("milk", 7), ("bread", 7), ("butter", 7)] {
            assert_eq!(tombstones.least(&place(name), at(1)), least, "{name}");
        }
    }

    #[test]
    fn tombstones_and_floors_end_with_their_life() {
        let tombstones = tombstones(1);
        tombstones.bury(place("milk"), 7);
        tombstones.bury(place("bread"), 3);
        for name in ["milk", "bread"] {
            assert_eq!(tombstones.least(&place(name), at(10)), 0, "{name}");
        }
        // What is over raises no floor.
        tombstones.bury(place("butter"), 2);
        tombstones.bury(place("cream"), 1);
        assert_eq!(tombstones.least(&place("milk"), at(11)), 2);
    }

    #[test]
    fn tombstones_stay_within_capacity() {
        let tombstones = tombstones(128);
        for n in 0..10_000 {
            tombstones.bury(place(&n.to_string()), n);
        }
        let held = |shard: &Mutex<Shard>| shard.lock().unwrap().least.len();
        assert!(tombstones.shards.iter().map(held).sum::<usize>() <= 128);
    }
}
