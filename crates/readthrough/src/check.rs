//! The live checker: a hit is compared with what the origin says, behind its reader (after Polaris: Shi et al., "Cache made
//! consistent", Meta, 2022).
//!
//! A difference alone proves nothing: something may have been written since the read, and a write that is not acknowledged yet may
//! be seen or not. So what differs is looked at again after a while in which every invalidation that was on its way has come. If
//! memory would *still* give what it gave, and the origin *still* says the other thing, then no invalidation is coming: one was
//! lost, or nobody sent one. An origin that says something else each time shows nothing, and neither does an answer without tags,
//! of which nothing but its time to live is promised.

use std::future::Future;

use crate::answer::{Answer, Failure, Load, Outcome};
use crate::engine::Engine;
use crate::entry::Usability;
use crate::origin::Origin;
use crate::read::Read;
use crate::store::Store;
use crate::world::World;

/// What a comparison of a hit with its origin shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The origin says the same.
    Same,
    /// It was superseded before it was read, and nothing has invalidated it since.
    Superseded,
    /// It was superseded, and its invalidation came: it was on its way when it was read.
    Invalidated,
    /// The origin says something else whenever it is asked.
    Unsteady,
    /// The origin did not answer, or there was no room for a load.
    Failed,
}

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// Whether this answer is one that is checked, of which so many are, from 0 to 1: from memory, fresh, and with tags.
    pub fn is_sampled(&self, read: &Read<O::Call>, answer: &Answer, share: f64) -> bool {
        let is_fresh_hit = answer.outcome == Outcome::Hit && answer.stale.is_none();
        share > 0.0 && is_fresh_hit && self.0.world.random() < share && self.has_tags(read)
    }

    /// Compares a hit with the origin. `settled` ends when every invalidation has come that was on its way when the origin was
    /// asked. Loads at most twice, for as long as the read's load timeout each; what comes is not stored.
    pub async fn check(&self, read: &Read<O::Call>, answer: &Answer, settled: impl Future<Output = ()>) -> Checked {
        let Some(first) = self.look(read).await else { return Checked::Failed };
        if is_same(&first, &answer.load) {
            return Checked::Same;
        }
        settled.await;
        if !self.would_answer(read, answer) {
            return Checked::Invalidated;
        }
        match self.look(read).await {
            None => Checked::Failed,
            Some(second) if !is_same(&first, &second) => Checked::Unsteady,
            Some(_) if self.would_answer(read, answer) => Checked::Superseded,
            Some(_) => Checked::Invalidated,
        }
    }

    fn has_tags(&self, read: &Read<O::Call>) -> bool {
        self.0.store.get(&read.key).is_some_and(|entry| !entry.tags.is_empty())
    }

    /// What the origin says; nothing where it does not answer.
    async fn look(&self, read: &Read<O::Call>) -> Option<Load> {
        let _slot = self.0.flights.slot().ok()?;
        let until = self.0.world.now().after(read.load_timeout);
        let load = self.load(read.call.clone(), until).await.load;
        load.as_ref().err().is_none_or(Failure::is_absence).then_some(load)
    }

    /// Whether memory would give the same fresh answer now.
    fn would_answer(&self, read: &Read<O::Call>, answer: &Answer) -> bool {
        let Some(entry) = self.0.store.get(&read.key) else { return false };
        let usability = entry.usability(&read.policy, read.consistency, self.0.world.now());
        usability == Usability::Fresh
            && self.holds_verified(&entry.tags, entry.epoch)
            && is_same(&entry.load(), &answer.load)
    }
}

/// Whether two loads say the same: an absence is one, in whatever words.
fn is_same(one: &Load, other: &Load) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one == other,
        (Err(one), Err(other)) => one.code == other.code,
        _ => false,
    }
}
