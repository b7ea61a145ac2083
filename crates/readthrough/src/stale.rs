//! Stored answers that stand in for what the origin does not say (stale-if-error): it fails, is not asked, keeps its reader waiting, or
//! lags.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::answer::{Answer, Failure, Outcome, Stale, answer};
use crate::engine::Engine;
use crate::entry::{Entry, Usability};
use crate::origin::Origin;
use crate::policy::ConsistencyRequirement;
use crate::read::Read;
use crate::store::Store;
use crate::world::World;

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// A stored answer in the place of one that does not come: for a reader who has waited for long enough, where the contract
    /// permits stale-if-error. The cool-down then spares others the wait, and the load goes on for those who come later.
    pub fn stale_if_error(&self, read: &Read<O::Call>) -> Option<Answer> {
        let answer = self.stored_if_error(read)?;
        self.0.flights.lock(&read.key).detach(&read.key);
        self.start_cool_down(&read.key);
        self.0.metrics.answered(&answer);
        Some(answer)
    }

    /// The answer of a reader for whom the origin is not asked.
    pub(crate) fn skip_origin(&self, read: &Read<O::Call>, failure: Failure, why: Outcome) -> Answer {
        let stale = self.stored_if_error(read);
        self.0.metrics.origin_skipped(stale.is_some());
        let told = |stale: Answer| Answer { stale: stale.stale.map(|_| Stale::OriginTooSlow), ..stale };
        stale.map_or_else(|| answer(Err(failure), Bytes::new(), why, Duration::ZERO, Duration::ZERO), told)
    }

    /// The stored answer in the place of one that the origin gave an older version: it lags. Where that answer is of no use to the
    /// reader any more, or was invalidated, what the origin says is all that there is. Tokens don't count here: both may be older than
    /// they ask, since the upstream does not read what it has written, and this one is the newer.
    pub(crate) fn stored_newer(&self, read: &Read<O::Call>, loaded: &Entry) -> Option<Answer> {
        let version = loaded.version().filter(|_| self.0.rules.versions_win)?;
        let now = self.0.world.now();
        let is_newer = |entry: &Arc<Entry>| entry.as_versioned()?.least_at(now).map(|stored| version < stored);
        let entry = self.0.store.get(&read.key).filter(|entry| is_newer(entry) == Some(true))?;
        // Who requires what the origin says is told what it said before, which is newer.
        let consistency = match read.consistency {
            ConsistencyRequirement::Strong => ConsistencyRequirement::MinimizeLatency,
            other => other,
        };
        let stale = match entry.usability(&read.policy, consistency, now) {
            Usability::Unusable => return None,
            // Who asked the origin hears that this is not what it said.
            Usability::Fresh => (read.consistency == ConsistencyRequirement::Strong).then_some(Stale::OlderVersion),
            Usability::WhileRevalidating | Usability::IfError => Some(Stale::OlderVersion),
        };
        self.holds_verified(&entry.tags, entry.epoch).then(|| self.hit(read, &entry, stale))
    }

    /// The stored answer, where the contract permits it when the origin fails. Never one that was deleted.
    pub(crate) fn stored_if_error(&self, read: &Read<O::Call>) -> Option<Answer> {
        let entry = self.0.store.get(&read.key).filter(|entry| self.meets_tokens(read, &entry.span))?;
        let holds = self.holds_verified(&entry.tags, entry.epoch);
        let stale = match entry.usability(&read.policy, read.consistency, self.0.world.now()) {
            Usability::Unusable => return None,
            Usability::Fresh if holds => None,
            // It has expired before its time, and a contract without stale-if-error serves nothing stale.
            Usability::Fresh if read.policy.stale_if_error.is_zero() || entry.failure().is_some() => return None,
            Usability::Fresh | Usability::WhileRevalidating | Usability::IfError => Some(Stale::OriginFailed),
        };
        let is_permitted = holds || self.permits_stale(&entry.tags, entry.epoch);
        is_permitted.then(|| self.hit(read, &entry, stale))
    }
}
