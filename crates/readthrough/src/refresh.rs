//! Loads behind an answer: of one that is stale, and early, of one that soon will be.
//!
//! A fresh answer is loaded again before it goes stale, the likelier the nearer that is and the longer its load takes (`XFetch`:
//! Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", 2015). So a key that is read all the
//! time has no miss for which its readers wait, and one that is read seldom costs nothing more. Like every load it is one of its
//! key's flights, and runs with the rights of the reader that started it.

use std::time::Duration;

use crate::answer::{Answer, Outcome};
use crate::engine::Engine;
use crate::origin::Origin;
use crate::read::{Lookup, Read};
use crate::store::Store;
use crate::world::World;

/// No reader refreshes earlier than this many times of a load before the end: more than the least that chance brings, `-ln(2^-53)`.
const EARLIEST: u32 = 37;

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// Reloads behind a stale answer, unless a load is in flight already. At the bound of loads the answer is still good.
    pub(crate) fn revalidate(&self, read: &Read<O::Call>) {
        // One may also have ended since the first look.
        self.load_behind(read, || matches!(self.lookup(read), Lookup::Revalidate(_)));
    }

    /// Reloads behind a fresh answer that goes stale soon, for one of its readers.
    pub(crate) fn refresh_early(&self, read: &Read<O::Call>, answer: &Answer) {
        if !is_due_early(answer, || self.0.world.random()) {
            return;
        }
        // One may have ended since the look, and the origin may have failed.
        let is_due = || {
            let now = self.0.world.now();
            let entry = self.0.store.get(&read.key).filter(|entry| !entry.is_cooling_down(now));
            entry.is_some_and(|entry| now.since(entry.started) >= answer.age)
        };
        if self.load_behind(read, is_due) {
            self.0.metrics.refreshed_early();
        }
    }

    /// Starts a load that nobody waits for, where it is needed still and none is in flight; whether it did.
    fn load_behind(&self, read: &Read<O::Call>, is_needed: impl FnOnce() -> bool) -> bool {
        let mut shard = self.0.flights.lock(&read.key);
        if shard.newest(&read.key).is_some() || !is_needed() {
            return false;
        }
        // Its reader has been answered: how little time that one had left says nothing about this load.
        let until = self.0.world.now().after(read.load_timeout);
        let started = self.0.flights.start(&mut shard, self.flight_start(read, until, true));
        drop(shard);
        let is_started = started.is_ok();
        if let Ok(handle) = started {
            self.spawn(read, handle);
        }
        is_started
    }
}

/// Whether this reader is the one by whom a fresh answer from memory is loaded again. `random` is even from 0 to 1.
fn is_due_early(answer: &Answer, random: impl FnOnce() -> f64) -> bool {
    let took = answer.took;
    let left = answer.lifetime.saturating_sub(answer.age);
    let is_fresh = answer.outcome == Outcome::Hit && answer.stale.is_none() && answer.load.is_ok();
    // Most answers are nowhere near: they cost no chance.
    if !is_fresh || took.is_zero() || left > took * EARLIEST {
        return false;
    }
    let earlier = -(1.0 - random()).ln();
    left < Duration::try_from_secs_f64(took.as_secs_f64() * earlier).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Failure;
    use bytes::Bytes;

    /// One that took a second to load and has this many milliseconds left.
    fn answer(left: u64) -> Answer {
        let lifetime = Duration::from_secs(100);
        Answer {
            load: Ok(Bytes::from_static(b"milk")),
            metadata: Bytes::new(),
            version: None,
            outcome: Outcome::Hit,
            span: crate::LoadSpan::default(),
            took: Duration::from_secs(1),
            age: lifetime.saturating_sub(Duration::from_millis(left)),
            lifetime,
            stored: false,
            collapsed: false,
            is_shared: false,
            stale: None,
            lease: None,
            trace: None,
        }
    }

    #[test]
    fn share_of_readers_by_whom_an_answer_is_refreshed_is_that_of_xfetch() {
        // exp(-left / took) of them.
        for (left, share) in [(100, 0.904), (693, 0.5), (2_303, 0.1), (6_908, 0.001)] {
            let drawn = (0..10_000).map(|n| f64::from(n) / 10_000.0);
            let due = drawn.filter(|random| is_due_early(&answer(left), || *random)).count();
            let told = f64::from(u32::try_from(due).unwrap()) / 10_000.0;
            assert!((told - share).abs() < 0.002, "{told} of the readers {left} ms before the end");
        }
    }

    #[test]
    fn answer_far_from_its_end_draws_no_chance() {
        assert!(!is_due_early(&answer(37_001), || panic!("a chance was drawn")));
    }

    #[test]
    fn absences_and_answers_of_other_loads_are_not_refreshed_early() {
        let certain = || 0.999_999;
        assert!(is_due_early(&answer(1), certain));
        assert!(!is_due_early(&Answer { load: Err(Failure::default()), ..answer(1) }, certain));
        assert!(!is_due_early(&Answer { outcome: Outcome::Miss, ..answer(1) }, certain));
    }
}
