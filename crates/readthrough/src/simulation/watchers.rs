//! A watcher of a namespace's changes whose connection is cut again and again, in the middle of what it is told, beside one that is
//! never cut: the first is told the same as the second, or that it has missed something.

use std::sync::Arc;

use super::keys::{KeyCallers, QUOTA};
use super::scheduler::Rng;
use crate::{Change, Namespace, Watcher};

const TENANT: &str = "north";
/// What the keys begin with that both watch.
const PREFIX: &str = "a";

/// Both watchers of a run.
pub(super) struct Watchers {
    namespace: Namespace,
    steady: Watcher,
    /// What the steady one was told, with the numbers.
    told: Vec<(u64, Arc<Change>)>,
    cut: Watcher,
    /// How much of the same the other one was told.
    known: usize,
}

impl Watchers {
    pub(super) fn new(keys: &KeyCallers) -> Self {
        let namespace = keys.first_namespace().clone();
        let (steady, _) = namespace.watch(TENANT, PREFIX, None);
        let (cut, _) = namespace.watch(TENANT, PREFIX, None);
        Self { namespace, steady, told: Vec::new(), cut, known: 0 }
    }

    /// The steady one hears of everything at once.
    pub(super) fn verify(&mut self) -> Result<(), String> {
        loop {
            match self.steady.take_next() {
                Ok(Some(change)) => self.told.push((self.steady.seen(), change)),
                Ok(None) => return Ok(()),
                Err(lagged) => return Err(format!("I6: who never left: {lagged}")),
            }
        }
    }

    /// The other one hears of some, and connects anew after the last that it has seen.
    pub(super) fn reconnect(&mut self, rng: &Rng) -> Result<(), String> {
        self.verify()?;
        for _ in 0..rng.below(4) {
            let Ok(Some(change)) = self.cut.take_next() else { break };
            let seen = (self.cut.seen(), change);
            if self.told.get(self.known) != Some(&seen) {
                return Err(format!("I6: told of {seen:?} instead of {:?}", self.told.get(self.known)));
            }
            self.known += 1;
        }
        let behind = self.steady.seen() - self.cut.seen();
        let (resumed, is_whole) = self.namespace.watch(TENANT, PREFIX, Some(self.cut.seen()));
        if !is_whole {
            self.known = self.told.len();
        }
        self.cut = resumed;
        // Two tenants share the log: each has half of it for sure.
        let (most, share) = (QUOTA.changes as u64, QUOTA.changes as u64 / 2);
        let is_right = if is_whole { behind <= most } else { behind > share };
        if is_right { Ok(()) } else { Err(format!("I6: {behind} behind, and told that it is whole: {is_whole}")) }
    }
}
