//! Admission to a near cache: what is read once is not worth a lease, for which writers may have to wait.
//!
//! A sketch of the keys that were missed lately. Bounded, without a lock; it may take one key for another, which costs a lease.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::world::Moment;

/// Keys that are remembered: as many as share a cache line make a bucket.
const SLOTS: usize = 1 << 14;
const BUCKET: usize = 8;

/// In a slot: half a hash of the key, and when it was missed, in milliseconds.
const FINGERPRINT: u32 = 32;

/// The keys that were missed lately.
#[derive(Debug)]
pub(crate) struct Admission {
    slots: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Admission {
    pub(crate) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }

    /// Notes a miss; whether there was another within this time.
    pub(crate) fn is_second<Q: Hash + ?Sized>(&self, key: &Q, now: Moment, within: Duration) -> bool {
        let hash = self.hasher.hash_one(key);
        let bucket = &self.slots[bucket(hash)..][..BUCKET];
        let (time, stamp) = (milliseconds(now), hash >> FINGERPRINT << FINGERPRINT);
        let read = |slot: &&AtomicU64| slot.load(Ordering::Relaxed);
        if let Some(slot) = bucket.iter().find(|slot| read(slot) >> FINGERPRINT == hash >> FINGERPRINT) {
            let before = slot.swap(stamp | u64::from(time), Ordering::Relaxed);
            return u128::from(age(time, before)) <= within.as_millis();
        }
        if let Some(oldest) = bucket.iter().max_by_key(|slot| age(time, read(slot))) {
            oldest.store(stamp | u64::from(time), Ordering::Relaxed);
        }
        false
    }
}

#[expect(clippy::cast_possible_truncation, reason = "only the remainder counts")]
fn bucket(hash: u64) -> usize {
    hash as usize % (SLOTS / BUCKET) * BUCKET
}

/// Seven weeks come round again: then one key is taken to be read twice that was not.
#[expect(clippy::cast_possible_truncation, reason = "only differences count")]
fn milliseconds(now: Moment) -> u32 {
    (now.0 / 1_000_000) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is the time")]
fn age(now: u32, slot: u64) -> u32 {
    now.wrapping_sub(slot as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_millis(400);

    fn at(milliseconds: u64) -> Moment {
        Moment((1_000_000 + milliseconds) * 1_000_000)
    }

    #[test]
    fn second_miss_within_time_is_told_from_first() {
        let admission = Admission::new();
        assert!(!admission.is_second("milk", at(0), WITHIN));
        assert!(!admission.is_second("bread", at(1), WITHIN));
        assert!(admission.is_second("milk", at(400), WITHIN));
        assert!(!admission.is_second("milk", at(801), WITHIN));
    }

    #[test]
    fn scan_of_other_keys_admits_none_of_them() {
        let admission = Admission::new();
        let admitted = (0..100_000).filter(|n| admission.is_second(n, at(n / 1_000), WITHIN)).count();
        assert!(admitted < 10, "{admitted}");
    }

    #[test]
    fn thousand_keys_read_in_turn_are_all_admitted() {
        let admission = Admission::new();
        assert_eq!((0..1_000).filter(|n| admission.is_second(n, at(0), WITHIN)).count(), 0);
        let admitted = (0..1_000).filter(|n| admission.is_second(n, at(10), WITHIN)).count();
        assert!(admitted > 990, "{admitted}");
    }
}
