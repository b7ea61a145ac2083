//! The second level: a store that replicas of a cache share, such as Valkey or Redis. It holds values and never the truth, and may
//! lose them, bring back old ones, or not answer.
//!
//! 1. A value carries the position in the invalidation log that its process had applied when its load *started*. It is good
//!    where none of its tags was invalidated by a later number, and nothing was flushed by one.
//! 2. Only of numbers that this process has read itself does it know what they invalidated: what was loaded before the oldest
//!    of them is a miss, and so is what was loaded under another log, or after a record that the log has lost (`log_history`).
//! 3. The number is judged after the epoch of the flight is taken, which is that of the entry then: so what is invalidated
//!    meanwhile ends it, in whatever order the two meet.
//! 4. A flight looks before it asks the origin, and what it finds goes into memory. Everyone who waits for the flight judges it like
//!    any entry in memory, by his own requirement; whoever can't use it waits for a load of the origin.
//! 5. What travels is age and remaining life. The age is never less than the truth.
//!
//! So neither what is lost nor what comes back does harm: it costs a load, or is judged as it would have been before.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::entry::{Entry, Usability};
use crate::flight::FlightHandle;
use crate::key::Key;
use crate::load;
use crate::load_span::LoadSpan;
use crate::origin::Origin;
use crate::policy::{ConsistencyRequirement, Policy};
use crate::position::Position;
use crate::shared_value::{SecondLevel, SharedMiss, SharedValue};
use crate::store::Store;
use crate::world::{Moment, World};

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// From now on misses look there before they ask the origin, and loads are written there. The first one counts.
    pub fn use_second_level(&self, second_level: Arc<dyn SecondLevel>) {
        // Another one would be another cache.
        let _ = self.0.second_level.set(second_level);
    }

    /// Whether a flight of such a reader looks into the second level.
    pub(crate) fn looks_into_second_level(&self, needs_origin: bool) -> bool {
        !needs_origin && self.0.second_level.get().is_some()
    }

    /// What the second level has for a flight, which its starter can use.
    pub(crate) async fn find_shared(
        &self,
        handle: &FlightHandle,
        policy: &Policy,
        consistency: ConsistencyRequirement,
    ) -> Option<Entry> {
        let (second_level, flight) = (self.0.second_level.get()?, &handle.flight);
        let asked = self.0.world.now();
        // What is kept in the first lease time may be older than what another process has acknowledged.
        if self.0.rules.first_time_keeps_nothing && self.is_first_lease_time(asked) {
            return None;
        }
        let found = second_level.find(handle.key, flight.until.since(asked)).await;
        let usable = found.and_then(|value| self.judge_shared(asked, value, handle, policy, consistency));
        self.0.metrics.looked_into_second_level(usable.as_ref().err().copied());
        usable.ok()
    }

    /// The entry that a value is here, where it may be one.
    fn judge_shared(
        &self,
        asked: Moment,
        value: SharedValue,
        handle: &FlightHandle,
        policy: &Policy,
        consistency: ConsistencyRequirement,
    ) -> Result<Entry, SharedMiss> {
        // A clock that began later than the load can't tell its age.
        let started = asked.0.checked_sub(Moment::default().after(value.age).0).ok_or(SharedMiss::TooOld)?;
        let rules = self.0.rules.second_level;
        self.0.validity.holds_since(&value.tags, value.since, rules)?;
        let now = self.0.world.now();
        let epoch = if rules.epoch_first { handle.flight.epoch } else { self.0.validity.now() };
        // No load of this process: it comes after nothing that its readers have seen.
        let span = LoadSpan { serial: 0, number: value.since.number, ended: self.0.flights.take_serial() };
        let SharedValue { share, took, tags, metadata, load, version, .. } = value;
        let entry = Entry::new(load, metadata, epoch, Moment(started), tags, share)
            .loaded_in(took)
            .of_load(span)
            .versioned(self.versioned_at(handle.key, version, Moment(started).after(took)));
        if entry.usability(policy, consistency, now) == Usability::Fresh { Ok(entry) } else { Err(SharedMiss::TooOld) }
    }

    /// Writes what a load brought into the second level. `since`: how much of the log was applied when the load started.
    pub(crate) fn share(&self, key: Key, policy: &Policy, entry: &Entry, since: Option<Position>) {
        let Some(second_level) = self.0.second_level.get() else { return };
        let rules = self.0.rules.second_level;
        let age = self.0.world.now().since(entry.started);
        let since = if rules.start_numbers { since } else { self.0.validity.position() };
        let life = entry.lifetime(policy).saturating_sub(age);
        if let Some(since) = since.filter(|_| !life.is_zero()) {
            let (tags, metadata, load) = (Arc::clone(&entry.tags), entry.metadata(), entry.load());
            let (share, took, version) = (entry.share(), entry.took(), entry.version());
            let age = if rules.age_travels { age } else { Duration::ZERO };
            let value = SharedValue { since, age, life, share, took, tags, metadata, load, version };
            second_level.put(key, value);
        }
    }
}

/// Runs a flight that looks into the second level first.
pub(crate) async fn run<O, S, W>(
    engine: Engine<O, S, W>,
    handle: FlightHandle,
    policy: Policy,
    consistency: ConsistencyRequirement,
    call: O::Call,
) where
    O: Origin,
    S: Store,
    W: World,
{
    match handle.unless_abandoned(engine.find_shared(&handle, &policy, consistency)).await {
        Some(Some(entry)) => engine.finish_shared(handle, &policy, entry),
        Some(None) => load::run(engine, handle, policy, call).await,
        None => {}
    }
}
