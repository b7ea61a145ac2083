//! One load, from its start to its place in the store.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::answer::Failure;
use crate::engine::Engine;
use crate::entry::Entry;
use crate::flight::{Flight, FlightHandle, LoadOutcome, Shard};
use crate::key::Key;
use crate::load_span::LoadSpan;
use crate::origin::{Loaded, Origin};
use crate::policy::Policy;
use crate::position::Position;
use crate::store::Store;
use crate::world::{Moment, World};

/// How much of its declared time to live an entry may lose, so that entries loaded together don't expire together. It never gains:
/// what the contract declares is the most that is tolerated.
const JITTER: f64 = 0.1;

/// Deadlines as close as this count as one: what is left of a deadline is rounded down at each hop, so an origin may give up
/// a little before its reader does.
pub(crate) const DEADLINE_MARGIN: Duration = Duration::from_millis(20);

/// Runs a load in its own task: it ends early only when nobody waits for it any more.
pub(crate) async fn run<O, S, W>(engine: Engine<O, S, W>, handle: FlightHandle, policy: Policy, call: O::Call)
where
    O: Origin,
    S: Store,
    W: World,
{
    // Before the load begins: what was applied by then the origin has seen.
    let since = engine.0.validity.position();
    if let Some(loaded) = handle.unless_abandoned(engine.load(call, handle.flight.until)).await {
        engine.finish(handle, &policy, loaded, since);
    }
}

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// Loads once, until a moment. A panic in it is INTERNAL to its reader, and does not reach others.
    pub(crate) async fn load(&self, call: O::Call, until: Moment) -> Loaded {
        let _in_flight = self.0.metrics.in_flight();
        let began = self.0.world.now();
        let load = AssertUnwindSafe(async { self.0.origin.load(call, until.since(began)).await }).catch_unwind().await;
        let loaded = load.unwrap_or_else(|_| Err(Failure::internal("the load panicked")).into());
        self.0.metrics.loaded(self.0.world.now().since(began), &loaded.load);
        loaded
    }

    /// The same for several in one go: what came for each, whatever the origin makes of them.
    pub(crate) async fn load_batch(&self, calls: Vec<O::Call>, until: Moment) -> Vec<Loaded> {
        let _in_flight = self.0.metrics.in_flight();
        let (began, count) = (self.0.world.now(), calls.len());
        let load = AssertUnwindSafe(async { self.0.origin.load_batch(calls, until.since(began)).await });
        let mut loaded = load.catch_unwind().await.unwrap_or_default();
        // Each is answered for: a load that panicked, or says nothing of some, fails for them.
        loaded.resize_with(count, || Err(Failure::internal("the load brought no answer")).into());
        let time = self.0.world.now().since(began);
        for loaded in &loaded {
            self.0.metrics.loaded(time, &loaded.load);
        }
        loaded
    }

    fn finish(&self, handle: FlightHandle, policy: &Policy, loaded: Loaded, since: Option<Position>) {
        let flight = &handle.flight;
        let rules = self.0.rules;
        let epoch = if rules.start_epochs { flight.epoch } else { self.0.validity.now() };
        let (tagged, trace) = (loaded.tags.is_some(), loaded.trace);
        let told = loaded.tags.unwrap_or_default();
        let tags =
            if told.is_empty() { Arc::clone(&flight.tags) } else { flight.tags.iter().copied().chain(told).collect() };
        let ttl_share = 1.0 - JITTER * self.0.world.random();
        let entry = Entry::new(loaded.load, loaded.metadata, epoch, flight.started, tags, ttl_share)
            .loaded_in(self.0.world.now().since(flight.started))
            .of_load(self.ended(flight))
            .versioned(self.versioned(handle.key, loaded.version));
        let entry = Arc::new(entry);
        let stored = self.keep(&handle, policy, &entry, tagged);
        if stored {
            self.share(handle.key, policy, &entry, since);
        }
        let starter_deadline = self.ended_by_starter_deadline(flight, &entry).then_some(flight.until);
        let asked_until = flight.epoch;
        handle.finish(LoadOutcome { entry, tagged, asked_until, stored, is_shared: false, starter_deadline, trace });
    }

    /// Ends a flight with what the second level had.
    pub(crate) fn finish_shared(&self, handle: FlightHandle, policy: &Policy, entry: Entry) {
        let (entry, asked_until) = (Arc::new(entry), handle.flight.epoch);
        let stored = self.keep(&handle, policy, &entry, true);
        let (tagged, is_shared, starter_deadline, trace) = (true, true, None, None);
        handle.finish(LoadOutcome { entry, tagged, asked_until, stored, is_shared, starter_deadline, trace });
    }

    /// Stores what a flight brought, where it still is the newest of its key and nothing of it was invalidated; whether it did.
    fn keep(&self, handle: &FlightHandle, policy: &Policy, entry: &Arc<Entry>, tagged: bool) -> bool {
        let (flight, rules) = (&handle.flight, &self.0.rules);
        let mut shard = self.0.flights.lock(&handle.key);
        // The fill guard. Leaving the newest place and storing happen under one lock, so that no newer flight can
        // come between them and be overwritten.
        let newest = shard.retire(&handle.key, flight);
        let is_first = rules.first_time_keeps_nothing && self.is_first_lease_time(flight.started);
        let holds = newest && !is_first && self.0.validity.holds(&entry.tags, entry.epoch);
        (holds || !rules.fill_guard) && self.fill(&mut shard, handle.key, policy, entry, tagged)
    }

    /// Where a load stands that has just ended.
    pub(crate) fn ended(&self, flight: &Flight) -> LoadSpan {
        let ended = self.0.flights.take_serial();
        if !self.0.rules.spans_of_start {
            return LoadSpan { serial: ended, number: self.position(), ended };
        }
        LoadSpan { ended, ..flight.span() }
    }

    /// Whether a load ended because its starter had no more time, and not by the origin's own doing.
    pub(crate) fn ended_by_starter_deadline(&self, flight: &Flight, entry: &Entry) -> bool {
        let over = self.0.world.now().after(DEADLINE_MARGIN) >= flight.until;
        over && self.0.rules.reload_after_starter_deadline && entry.failure().is_some_and(Failure::is_deadline_exceeded)
    }

    /// Stores what may be stored; whether it was.
    fn fill(&self, shard: &mut Shard, key: Key, policy: &Policy, entry: &Arc<Entry>, tagged: bool) -> bool {
        if !self.is_newest(&key, entry) {
            return false;
        }
        let within_capacity = entry.weight() as u64 <= self.0.limits.capacity;
        let kept = tagged
            && match (entry.value(), entry.failure()) {
                (Some(message), _) => message.len() as u64 <= policy.max_bytes && within_capacity,
                (None, failure) => failure.is_some_and(Failure::is_absence) && policy.negative_ttl > Duration::ZERO,
            };
        match entry.failure() {
            _ if kept => self.0.store.insert(key, Arc::clone(entry)),
            None => {
                // The older answer goes as well: it is not what the origin says any more.
                self.0.store.remove(&key);
                self.bury(&key, entry.version());
                shard.remember_uncacheable(key, self.0.world.now().after(self.0.limits.uncacheable));
            }
            // An error never replaces a good answer; but an absence says that there is none.
            Some(failure) if failure.is_absence() => self.0.store.remove(&key),
            Some(failure) if failure.permits_stale() => self.start_cool_down(&key),
            Some(_) => {}
        }
        kept
    }

    /// Leaves the origin alone for a while, where there is a stale answer to serve instead.
    pub(crate) fn start_cool_down(&self, key: &Key) {
        if let Some(entry) = self.0.store.get(key) {
            entry.cool_down_until(self.0.world.now().after(self.0.limits.cool_down));
        }
    }
}
