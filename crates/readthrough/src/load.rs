//! One load, from its start to its place in the store.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::entry::Entry;
use super::flight::{Airborne, Flight, Landing, Shard};
use super::key::Key;
use super::{Engine, Failure, Load, Loaded, Origin, Policy, Store, World};

const DEADLINE_EXCEEDED: i32 = 4;
const NOT_FOUND: i32 = 5;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

/// How much of its declared life an entry may lose, so that entries loaded together don't expire together. It never gains:
/// what the contract declares is the most that is tolerated.
const JITTER: f64 = 0.1;

/// Deadlines as close as this count as one: what is left of a deadline is rounded down at each hop, so an origin may give up
/// a little before its reader does.
pub(super) const MARGIN: Duration = Duration::from_millis(20);

/// Runs a load in its own task: it ends early only when nobody waits for it any more.
pub(super) async fn fly<O, S, W>(engine: Engine<O, S, W>, airborne: Airborne, policy: Policy, call: O::Call)
where
    O: Origin,
    S: Store,
    W: World,
{
    if let Some(loaded) = airborne.unless_abandoned(engine.load(call)).await {
        engine.land(airborne, &policy, loaded);
    }
}

/// Whether a stale answer may stand in for this failure: the origin could not answer, rather than would not.
pub(super) fn permits_stale(failure: &Failure) -> bool {
    matches!(failure.code, UNAVAILABLE | DEADLINE_EXCEEDED | INTERNAL | RESOURCE_EXHAUSTED)
}

/// Whether a failure may be about whom the load ran for, rather than about what it was to bring.
pub(super) fn is_personal(load: &Load) -> bool {
    load.as_ref().is_err_and(|failure| matches!(failure.code, PERMISSION_DENIED | UNAUTHENTICATED))
}

pub(super) fn defect(message: &str) -> Failure {
    Failure { code: INTERNAL, message: message.to_owned(), ..Failure::default() }
}

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// Loads once. A panic in it is its reader's INTERNAL, and nobody else's trouble.
    pub(super) async fn load(&self, call: O::Call) -> Loaded {
        let _flying = self.0.metrics.flying();
        let began = self.0.world.now();
        let load = AssertUnwindSafe(async { self.0.origin.load(call).await }).catch_unwind().await;
        let loaded = load.unwrap_or_else(|_| Err(defect("the load panicked")).into());
        self.0.metrics.loaded(self.0.world.now().since(began), &loaded.load);
        loaded
    }

    fn land(&self, airborne: Airborne, policy: &Policy, loaded: Loaded) {
        let flight = &airborne.flight;
        let rules = self.0.rules;
        let epoch = if rules.start_epochs { flight.epoch } else { self.0.validity.now() };
        let tagged = loaded.tags.is_some();
        let tags = flight.tags.iter().copied().chain(loaded.tags.into_iter().flatten()).collect();
        let part = 1.0 - JITTER * self.0.world.chance();
        let entry = Arc::new(Entry::new(loaded.load, loaded.metadata, epoch, flight.started, tags, part));
        let stored = {
            let mut shard = self.0.flights.lock(&airborne.key);
            // The fill guard. Leaving the newest place and storing happen under one lock, so that no newer flight can
            // come between them and be overwritten.
            let newest = shard.retire(&airborne.key, flight);
            let holds = newest && self.0.validity.holds(&entry.tags, entry.epoch);
            (holds || !rules.fill_guard) && self.fill(&mut shard, airborne.key, policy, &entry, tagged)
        };
        let cut_at = self.was_cut(flight, &entry.load).then_some(flight.until);
        let asked_until = flight.epoch;
        airborne.land(Landing { entry, tagged, asked_until, stored, cut_at });
    }

    /// Whether a load ended because its starter had no more time, and not by the origin's own doing.
    fn was_cut(&self, flight: &Flight, load: &Load) -> bool {
        let over = self.0.world.now().after(MARGIN) >= flight.until;
        over && self.0.rules.further_tries && load.as_ref().is_err_and(|failure| failure.code == DEADLINE_EXCEEDED)
    }

    /// Stores what may be stored; whether it was.
    fn fill(&self, shard: &mut Shard, key: Key, policy: &Policy, entry: &Arc<Entry>, tagged: bool) -> bool {
        let kept = match &entry.load {
            Ok(message) => tagged && fits(message.len(), policy) && entry.weight() as u64 <= self.0.bounds.capacity,
            Err(failure) => tagged && failure.code == NOT_FOUND && policy.negative_ttl > Duration::ZERO,
        };
        match &entry.load {
            _ if kept => self.0.store.insert(key, Arc::clone(entry)),
            Ok(_) => {
                // The older answer goes as well: it is not what the origin says any more.
                self.0.store.remove(&key);
                shard.remember_uncacheable(key, self.0.world.now().after(self.0.bounds.uncacheable));
            }
            // An error never replaces a good answer; but an absence says that there is none.
            Err(failure) if failure.code == NOT_FOUND => self.0.store.remove(&key),
            Err(failure) if permits_stale(failure) => self.spare_origin(&key),
            Err(_) => {}
        }
        kept
    }

    /// Leaves the origin alone for a while, where there is an answer that may stand in.
    pub(super) fn spare_origin(&self, key: &Key) {
        if let Some(entry) = self.0.store.get(key) {
            entry.rest_until(self.0.world.now().after(self.0.bounds.rest));
        }
    }
}

fn fits(bytes: usize, policy: &Policy) -> bool {
    bytes as u64 <= policy.max_bytes
}

/// The name of a load's result in metrics.
pub(super) fn result(load: &Load) -> &'static str {
    match load {
        Ok(_) => "ok",
        Err(failure) if failure.code == NOT_FOUND => "not_found",
        Err(failure) if permits_stale(failure) => "failed",
        Err(_) => "refused",
    }
}
