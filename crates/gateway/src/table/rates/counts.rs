//! Generic cell rate algorithm (GCRA) for a bounded number of callers.

use accord_runtime::prehashed::BuildPrehashed;
use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Parts of the callers, each under a lock of its own, so that workers seldom wait for each other.
const SHARDS: usize = 16;

/// Callers of one part in one generation.
const GENERATION: usize = 4096;

/// Callers whose calls are counted at a time, at 17 bytes each in tables that are half full at least: 4.5 MB.
#[cfg(test)]
pub(crate) const MOST_CALLERS: usize = 2 * SHARDS * GENERATION;

/// How many calls are allowed, as the algorithm counts: in nanoseconds.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// How long one call uses up.
    each: u64,
    /// What the largest burst uses up.
    whole: u64,
}

impl Pace {
    /// A call each so often, and so many at once.
    pub(crate) fn new(each: Duration, burst: u32) -> Self {
        let each = u64::try_from(each.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { each, whole: each.saturating_mul(burst.max(1).into()) }
    }

    /// How long one call uses up, and the largest burst.
    pub(crate) fn nanoseconds(self) -> [u64; 2] {
        [self.each, self.whole]
    }

    /// Counts a call of somebody whose calls use up the time until `until`: until when they do then, and how many more there
    /// is room for at once; or how long to wait until there is room for it.
    fn take(self, until: u64, now: u64) -> Result<(u64, u32), Duration> {
        let used = until.saturating_sub(now).saturating_add(self.each);
        match self.whole.checked_sub(used) {
            Some(left) => Ok((now.saturating_add(used), u32::try_from(left / self.each).unwrap_or(u32::MAX))),
            None => Err(Duration::from_nanos(used - self.whole)),
        }
    }
}

/// Until when each caller's calls use up the time.
///
/// Callers are told apart by a hash under a random key alone, so that what they are called takes no room: that two of
/// 100,000 share a count happens once in four billion times.
#[derive(Default)]
pub(crate) struct Counts {
    hashes: RandomState,
    shards: [Mutex<Generations>; SHARDS],
}

impl Counts {
    /// Counts a call at `now`, in nanoseconds since some moment.
    pub(crate) fn take(&self, pace: Pace, caller: &impl Hash, now: u64) -> Result<u32, Duration> {
        let hash = self.hashes.hash_one(caller);
        let mut generations = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
        let until = generations.of(hash, now);
        let (next, left) = pace.take(*until, now)?;
        *until = next;
        Ok(left)
    }

    /// The same without counting it: nobody is remembered for a look.
    pub(crate) fn look(&self, pace: Pace, caller: &impl Hash, now: u64) -> Result<u32, Duration> {
        let hash = self.hashes.hash_one(caller);
        let generations = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
        let until = generations.recent.get(&hash).or_else(|| generations.earlier.get(&hash));
        pace.take(until.copied().unwrap_or_default(), now).map(|(_, left)| left)
    }

    /// Not by the bits by which the tables find their places.
    fn shard(&self, hash: u64) -> &Mutex<Generations> {
        &self.shards[usize::from(hash.to_be_bytes()[3]) % SHARDS]
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap()).map(|it| it.recent.len() + it.earlier.len()).sum()
    }
}

/// Who called lately, and who called before that and not since. When there are too many of the former, the latter are
/// forgotten: so whoever called least lately leaves first, and then begins anew with a whole burst.
#[derive(Default)]
struct Generations {
    recent: Generation,
    earlier: Generation,
}

type Generation = HashMap<u64, u64, BuildPrehashed>;

impl Generations {
    /// Where the count of a caller stands. Being asked for keeps it, whether there is room for the call or not.
    fn of(&mut self, hash: u64, now: u64) -> &mut u64 {
        if self.recent.len() >= GENERATION && !self.recent.contains_key(&hash) {
            self.make_room(now);
        }
        let earlier = &mut self.earlier;
        self.recent.entry(hash).or_insert_with(|| earlier.remove(&hash).unwrap_or_default())
    }

    /// Who has used up nothing is as one who never called. Where that makes half of the room, nobody else has to leave.
    fn make_room(&mut self, now: u64) {
        self.recent.retain(|_, until| *until > now);
        if self.recent.len() > GENERATION / 2 {
            self.earlier = mem::take(&mut self.recent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    /// More callers than are kept.
    const MORE: u64 = 300_000;

    fn hourly(burst: u32) -> Pace {
        Pace::new(Duration::from_hours(1), burst)
    }

    #[test]
    fn burst_is_allowed_at_once_and_then_a_call_each_period() {
        let (counts, pace) = (Counts::default(), Pace::new(Duration::from_secs(1), 3));
        let take = |now| counts.take(pace, &"ada", now);
        assert_eq!([take(0), take(0), take(0)], [Ok(2), Ok(1), Ok(0)]);
        assert_eq!(take(0), Err(Duration::from_secs(1)));
        assert_eq!(take(SECOND / 4), Err(Duration::from_millis(750)));
        assert_eq!(take(SECOND), Ok(0));
        assert_eq!(take(10 * SECOND), Ok(2), "a pause gives back a burst, and no more");
    }

    #[test]
    fn look_says_what_a_call_would_be_told_and_counts_nothing() {
        let (counts, pace) = (Counts::default(), Pace::new(Duration::from_secs(1), 2));
        let look = |now| counts.look(pace, &"ada", now);
        assert_eq!(([look(0), look(0)], counts.len()), ([Ok(1), Ok(1)], 0));
        assert_eq!([counts.take(pace, &"ada", 0), look(0), counts.take(pace, &"ada", 0)], [Ok(1), Ok(0), Ok(0)]);
        assert_eq!(look(0), Err(Duration::from_secs(1)));
    }

    #[test]
    fn longest_period_and_burst_do_not_overflow_the_clock() {
        let (counts, pace) = (Counts::default(), Pace::new(Duration::MAX, u32::MAX));
        assert!(counts.take(pace, &"ada", u64::MAX - 1).is_ok());
    }

    #[test]
    fn million_callers_who_have_all_used_something_up_are_not_all_kept() {
        let counts = Counts::default();
        for caller in 0..1_000_000 {
            assert_eq!(counts.take(hourly(2), &caller, 0), Ok(1));
        }
        assert!((MOST_CALLERS / 4..=MOST_CALLERS).contains(&counts.len()), "{}", counts.len());
    }

    #[test]
    fn caller_who_goes_on_calling_is_not_forgotten_for_more_others_than_are_kept() {
        let counts = Counts::default();
        assert_eq!(counts.take(hourly(1), &"ada", 0), Ok(0));
        for caller in 0..MORE {
            let _ = counts.take(hourly(1), &caller, 0);
            // A refused call is one as well.
            if caller % 10_000 == 0 {
                assert!(counts.take(hourly(1), &"ada", 0).is_err(), "{caller}");
            }
        }
    }

    #[test]
    fn callers_who_have_used_up_nothing_leave_before_those_who_have() {
        let (counts, brief) = (Counts::default(), Pace::new(Duration::from_nanos(1), 1));
        assert_eq!(counts.take(hourly(1), &"ada", 0), Ok(0));
        for caller in 0..MORE {
            let _ = counts.take(brief, &caller, caller * 10);
        }
        assert!(counts.take(hourly(1), &"ada", MORE * 10).is_err());
    }
}
