//! What is done for one call, step by step: for the few calls whose caller or operator asks.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Steps and endpoints that are kept of a call: more than a call has, and few enough for whoever reads them.
const MOST: usize = 16;

/// A step that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalStep {
    /// Its name.
    pub name: &'static str,
    /// When it was over.
    pub at: Instant,
}

/// What was noted of a call.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// The steps in their order, the first 16 of them.
    pub steps: Vec<JournalStep>,
    /// The endpoints of its attempts in their order, the first 16 of them.
    pub endpoints: Vec<String>,
    /// Attempts that ran beside another one.
    pub hedges: u32,
}

/// Notes them. Nothing waits under its lock.
#[derive(Debug, Default)]
pub(super) struct Keeper(Mutex<Journal>);

impl Keeper {
    pub(super) fn step(&self, name: &'static str) {
        let step = JournalStep { name, at: Instant::now() };
        self.with(|journal| match journal.steps.last_mut() {
            // It was not over.
            Some(last) if last.name == name => *last = step,
            _ => push(&mut journal.steps, step),
        });
    }

    pub(super) fn attempt(&self, endpoint: &str) {
        self.with(|journal| push(&mut journal.endpoints, endpoint.to_owned()));
    }

    pub(super) fn hedge(&self) {
        self.with(|journal| journal.hedges += 1);
    }

    pub(super) fn noted(&self) -> Journal {
        self.with(|journal| journal.clone())
    }

    fn with<T>(&self, note: impl FnOnce(&mut Journal) -> T) -> T {
        // What it holds is whole whenever the lock is free.
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn push<T>(noted: &mut Vec<T>, next: T) {
    if noted.len() < MOST {
        noted.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call_record::CallRecord;

    #[test]
    fn steps_and_endpoints_are_noted_in_their_order_once_a_journal_is_begun() {
        let record = CallRecord::default();
        record.step("unseen");
        record.add_attempt("http://a:1");
        assert!(record.journal().is_none());
        record.begin_journal();
        for name in ["authorize", "upstream"] {
            record.step(name);
        }
        record.add_hedge();
        record.add_attempt("http://b:1");
        let journal = record.journal().unwrap();
        let names: Vec<_> = journal.steps.iter().map(|step| step.name).collect();
        assert_eq!((names, journal.endpoints), (vec!["authorize", "upstream"], vec!["http://b:1".to_owned()]));
        assert_eq!((journal.hedges, record.attempts()), (1, 2));
    }

    #[test]
    fn step_that_goes_on_is_noted_once_and_by_its_end() {
        let keeper = Keeper::default();
        keeper.step("rate_limit");
        let first = keeper.noted().steps;
        keeper.step("rate_limit");
        let both = keeper.noted().steps;
        assert!(both.len() == 1 && both[0].at >= first[0].at, "{first:?} {both:?}");
    }

    #[test]
    fn journal_of_a_call_with_many_attempts_is_bounded() {
        let keeper = Keeper::default();
        for _ in 0..10 * MOST {
            keeper.attempt("http://a:1");
            keeper.step("cache");
            keeper.step("upstream");
        }
        let Journal { steps, endpoints, .. } = keeper.noted();
        assert_eq!((steps.len(), endpoints.len()), (MOST, MOST));
    }
}
