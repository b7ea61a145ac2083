//! Keys that are asked for so often that they would be too much for one endpoint: counted in a table of fixed size.
//!
//! Each key has one slot, and of the keys that meet in one the most frequent keeps it: a call of another one takes a count away
//! (Boyer and Moore's majority vote, as in `HeavyKeeper`). So a count is never more than the truth, and that of a key with most of
//! the calls is hardly less. Counts begin anew each second.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// Keys that may be counted at a time.
const SLOTS: usize = 1024;

/// Calls by a key in a second that one endpoint takes, whatever their share is.
const FEW: u32 = 1_000;

/// How often keys are asked for.
#[derive(Debug)]
pub(crate) struct HotKeys {
    since: Instant,
    /// Each: 24 bits of the key, 8 of the second, 32 of its count.
    slots: Box<[AtomicU64]>,
    /// All calls: 32 bits of the second, 32 of the count.
    all: AtomicU64,
}

impl HotKeys {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(), all: AtomicU64::new(0) }
    }

    /// Counts a call by this key; what part of this second's calls are of it, where they are many.
    pub(crate) fn count(&self, key: u64, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.since).as_secs();
        let all = low(update(&self.all, |known| {
            let begun = elapsed << 32;
            if known >> 32 == begun >> 32 { known.wrapping_add(1) } else { begun | 1 }
        }));
        // Slots are of its low bits.
        let name = ((key >> 40) << 40) | ((elapsed & 0xff) << 32);
        let slot = &self.slots[usize::try_from(key % SLOTS as u64).unwrap_or_default()];
        let counted = update(slot, |known| next(known, name));
        let own = if counted >> 32 == name >> 32 { low(counted) } else { 0 };
        if own < FEW { 0.0 } else { f64::from(own) / f64::from(all.max(own)) }
    }
}

/// What a slot holds after a call by the key of this name.
fn next(known: u64, name: u64) -> u64 {
    let is_same = known >> 32 == name >> 32;
    let is_of_second = second(known) == second(name);
    match low(known) {
        count if is_same => (known & !u64::from(u32::MAX)) | u64::from(count.saturating_add(1)),
        2.. if is_of_second => known - 1,
        _ => name | 1,
    }
}

fn second(bits: u64) -> u64 {
    (bits >> 32) & 0xff
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is the count")]
fn low(bits: u64) -> u32 {
    bits as u32
}

/// Changes a number as nobody else does meanwhile; what it is then.
fn update(number: &AtomicU64, change: impl Fn(u64) -> u64) -> u64 {
    let mut known = number.load(Ordering::Relaxed);
    loop {
        let changed = change(known);
        match number.compare_exchange_weak(known, changed, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return changed,
            Err(other) => known = other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use accord_wire::mix;

    use super::*;

    /// The share of a key after so many calls, of which it has one in `of`.
    fn share(of: u64, calls: u64) -> f64 {
        let now = Instant::now();
        let keys = HotKeys::new(now);
        let others = (1..).filter(|other| other % of != 0).map(mix);
        let mut calls = (0..calls).zip(others);
        calls.by_ref().fold(0.0, |share, (call, other)| {
            let key = if call % of == 0 { mix(0) } else { other };
            let counted = keys.count(key, now);
            if call % of == 0 { counted } else { share }
        })
    }

    #[test]
    fn share_of_a_frequent_key_is_found_among_many_seldom_ones() {
        for of in [2, 5] {
            let (share, truth) = (share(of, 100_000), 1.0 / f64::from(u32::try_from(of).unwrap()));
            assert!((truth * 0.9..=truth * 1.001).contains(&share), "{share} of {truth}");
        }
    }

    #[test]
    fn keys_with_few_calls_have_no_share() {
        let now = Instant::now();
        let keys = HotKeys::new(now);
        assert!((1..FEW).all(|_| keys.count(7, now) == 0.0));
        assert!(keys.count(7, now) > 0.99);
    }

    #[test]
    fn counts_begin_anew_each_second() {
        let now = Instant::now();
        let keys = HotKeys::new(now);
        assert!((0..FEW * 2).map(|_| keys.count(7, now)).any(|share| share > 0.99));
        let next = now + Duration::from_secs(1);
        assert!(keys.count(7, next) == 0.0);
        assert!((2..FEW).all(|_| keys.count(7, next) == 0.0));
        assert!(keys.count(7, next) > 0.99);
    }
}
