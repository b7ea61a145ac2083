//! Incarnations of the cache: whether one process answers behind its name, a successor, or two at once.
//!
//! Two that know nothing of each other each acknowledge what the other still answers with. So while both are seen, nothing may
//! be kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::world::Moment;

/// For how long after two were seen last one alone must answer, before it is believed that it is alone.
const SUSPENSION: Duration = Duration::from_secs(10);

/// Which process of the cache answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// The one that was known, or a late answer of the one before it.
    Same,
    /// Its successor.
    New,
    /// One that has a successor, which was asked later: there are two.
    Two,
}

/// The processes that answered.
#[derive(Debug, Default)]
pub(crate) struct Incarnations {
    known: Mutex<Known>,
    suspended_until: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    current: Option<u128>,
    previous: Option<u128>,
    /// When the current one was first heard of.
    since: Moment,
}

impl Incarnations {
    /// Notes who answered a request that left at `asked`.
    pub(crate) fn observe(&self, asked: Moment, incarnation: u128, now: Moment) -> Sighting {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(current) = known.current else {
            *known = Known { current: Some(incarnation), previous: None, since: now };
            return Sighting::Same;
        };
        // What was asked before the successor was heard of may have been answered by either.
        if incarnation == current || (known.previous == Some(incarnation) && asked <= known.since) {
            return Sighting::Same;
        }
        let is_back = known.previous == Some(incarnation);
        *known = Known { current: Some(incarnation), previous: Some(current), since: now };
        if is_back {
            self.suspended_until.store(now.after(SUSPENSION).0, Ordering::SeqCst);
            return Sighting::Two;
        }
        Sighting::New
    }

    pub(crate) fn is_suspended(&self, now: Moment) -> bool {
        now.0 < self.suspended_until.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(seconds * 1_000_000_000)
    }

    #[test]
    fn successor_is_new_once_and_suspends_nothing() {
        let incarnations = Incarnations::default();
        assert_eq!(incarnations.observe(at(0), 1, at(1)), Sighting::Same);
        assert_eq!(incarnations.observe(at(2), 2, at(3)), Sighting::New);
        assert_eq!(incarnations.observe(at(4), 2, at(4)), Sighting::Same);
        assert!(!incarnations.is_suspended(at(4)));
    }

    #[test]
    fn late_answer_of_predecessor_is_no_second_process() {
        let incarnations = Incarnations::default();
        incarnations.observe(at(0), 1, at(1));
        incarnations.observe(at(2), 2, at(3));
        assert_eq!(incarnations.observe(at(3), 1, at(5)), Sighting::Same);
        assert_eq!(incarnations.observe(at(6), 2, at(6)), Sighting::Same);
    }

    #[test]
    fn predecessor_that_answers_later_question_suspends_until_one_is_left() {
        let incarnations = Incarnations::default();
        incarnations.observe(at(0), 1, at(1));
        incarnations.observe(at(2), 2, at(3));
        assert_eq!(incarnations.observe(at(4), 1, at(5)), Sighting::Two);
        assert_eq!(incarnations.observe(at(6), 2, at(7)), Sighting::Two);
        assert_eq!(incarnations.observe(at(8), 2, at(9)), Sighting::Same);
        assert!(incarnations.is_suspended(at(16)));
        assert!(!incarnations.is_suspended(at(17)));
    }
}
