//! Loads of namespace keys (cache-aside by the cache itself): a key that holds nothing is loaded, once for all who ask for it.
//!
//! Their rules, beside those of every load:
//! 1. What a load brings is held as if it were put when the load began: with a version of its own, a life, a place in the
//!    quota.
//! 2. It is held only if the load is still the newest of its key. A put, a delete, or an invalidation that reaches the key
//!    ends that: the load then answers those who asked before, and its version is one that the key never held. Touching
//!    needs no such rule: it revives nothing, and while a key holds something nothing is loaded for it.
//! 3. A failure is held by nobody, an absence neither.
//! 4. Keys that are asked for together are loaded together (`batch`), and each has a flight of its own: a key that is in flight
//!    already is waited for, and what becomes of one key does not concern the others.

mod batch;

use std::sync::Arc;
use std::time::Duration;

use crate::answer::{Failure, Outcome};
use crate::engine::Engine;
use crate::entry::Entry;
use crate::flight::{Flight, FlightHandle, FlightStart, LoadOutcome, Waiter};
use crate::key::{Key, Tag};
use crate::key_requirement::{Asked, KeyRequirement};
use crate::limits::Overload;
use crate::load_span::{LoadSpan, LoadTrace};
use crate::namespace::{Found, Namespace};
use crate::origin::{Loaded, Origin};
use crate::quota::{KeyName, Put};
use crate::store::Store;
use crate::wait_budget::WaitBudget;
use crate::world::World;

/// How a key is loaded.
#[derive(Clone, Debug)]
pub struct KeyLoad<C> {
    /// The life of what is loaded, from the start of its load.
    pub ttl: Duration,
    /// How long the reader waits.
    pub wait_budget: Duration,
    /// What the reader requires of what the key holds already, or of a load that is under way.
    pub required: KeyRequirement,
    /// How to load it.
    pub call: C,
}

/// What a key held, or what was loaded for it.
#[derive(Clone, Debug)]
pub struct KeyAnswer {
    /// The value, or the origin's error.
    pub found: Result<Found, Failure>,
    /// From where: a hit where the key held something after all, a bypass where this reader loaded it for itself alone.
    pub outcome: Outcome,
    /// Whether this read stored it.
    pub stored: bool,
    /// Whether another read loaded it at the same time.
    pub collapsed: bool,
    /// The span of the load of another read that it waited for, where that is sampled.
    pub trace: Option<LoadTrace>,
}

/// The key of a load, and what it is told by.
#[derive(Clone)]
struct Subject {
    namespace: Namespace,
    place: Key,
    name: KeyName,
    /// Under which its row is invalidated, if it has one.
    tags: Arc<[Tag]>,
}

impl Subject {
    fn new(namespace: &Namespace, tenant: &str, key: &str) -> Self {
        let (place, name) = (namespace.place(tenant, key), namespace.key_name(tenant, key));
        Self { namespace: namespace.clone(), place, name, tags: namespace.row_tags(tenant, key).collect() }
    }
}

/// How a reader gets its load.
enum Access {
    /// The key holds something.
    Found(Found),
    /// It waits for another reader's load.
    Joined(Waiter),
    /// It waits for a load to end that will not do, before it shares the next one.
    Follows(Waiter),
    /// It waits for a load that is to be run now.
    Started(Waiter, FlightHandle),
}

/// What a reader waits for.
enum Awaited {
    /// Nothing: the key holds something.
    Found(Found),
    /// A load; `collapsed` if another reader's.
    Load { waiter: Waiter, collapsed: bool },
    /// The end of a load that will not do.
    End(Waiter),
}

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// Loads a key that holds nothing, for as long as it holds nothing.
    pub async fn load_key(
        &self,
        namespace: &Namespace,
        (tenant, key): (&str, &str),
        load: &KeyLoad<O::Call>,
    ) -> Result<KeyAnswer, Overload> {
        let subject = Subject::new(namespace, tenant, key);
        let (asked, budget) = (self.ask(load.required), WaitBudget::new(self.0.world.now(), load.wait_budget));
        let awaited = self.join_or_load(&subject, load, (&asked, budget))?;
        self.wait_for_key(&subject, load, (&asked, budget), awaited).await
    }

    async fn wait_for_key(
        &self,
        subject: &Subject,
        load: &KeyLoad<O::Call>,
        (asked, mut budget): (&Asked, WaitBudget),
        mut awaited: Awaited,
    ) -> Result<KeyAnswer, Overload> {
        loop {
            let (waiter, collapsed) = match awaited {
                Awaited::Found(found) => return Ok(answer(Ok(found), Outcome::Hit)),
                Awaited::Load { waiter, collapsed } => (waiter, collapsed),
                // What starts after it will do, so this happens once at most.
                Awaited::End(waiter) => {
                    self.wait(waiter).await;
                    awaited = self.join_or_load(subject, load, (asked, budget))?;
                    continue;
                }
            };
            let Some(outcome) = self.wait(waiter).await else {
                return Ok(answer(Err(Failure::dropped()), Outcome::Miss));
            };
            let further = outcome.starter_deadline.and_then(|at| budget.after_starter_deadline(at, self.0.world.now()));
            if let Some(further) = further {
                budget = further;
                awaited = self.join_or_load(subject, load, (asked, budget))?;
                continue;
            }
            // The origin may have turned away the principal whose load it was, and not this one.
            if collapsed && outcome.entry.failure().is_some_and(Failure::is_about_principal) {
                return self.load_key_alone(subject, load, budget).await;
            }
            let (stored, trace) = (outcome.stored && !collapsed, outcome.trace.filter(|_| collapsed));
            return Ok(KeyAnswer { stored, collapsed, trace, ..answer(self.brought(&outcome.entry), Outcome::Miss) });
        }
    }

    /// What a reader waits for; a load that nobody has started yet runs from now on.
    fn join_or_load(
        &self,
        subject: &Subject,
        load: &KeyLoad<O::Call>,
        (asked, budget): (&Asked, WaitBudget),
    ) -> Result<Awaited, Overload> {
        Ok(match self.join_or_start_load(subject, load.ttl, (asked, budget))? {
            Access::Found(found) => Awaited::Found(found),
            Access::Joined(waiter) => Awaited::Load { waiter, collapsed: true },
            Access::Follows(waiter) => Awaited::End(waiter),
            Access::Started(waiter, handle) => {
                self.0.world.spawn(run(self.clone(), handle, subject.clone(), load.clone()));
                Awaited::Load { waiter, collapsed: false }
            }
        })
    }

    fn join_or_start_load(
        &self,
        subject: &Subject,
        ttl: Duration,
        (asked, budget): (&Asked, WaitBudget),
    ) -> Result<Access, Overload> {
        let mut shard = self.0.flights.lock(&subject.place);
        // A load that ended since the first look, or a put, is in the store now. Under the lock there is no such gap.
        let held = self.0.store.get(&subject.place);
        let held = held.filter(|entry| self.key_meets(asked, &entry.span, entry.started));
        if let Some(found) = held.and_then(|entry| self.found(&entry)) {
            return Ok(Access::Found(found));
        }
        if let Some(flight) = shard.newest(&subject.place).filter(|flight| self.may_share_load(ttl, budget, flight)) {
            let will_do = self.key_meets(asked, &flight.span(), flight.started);
            let waiter = self.0.flights.join(subject.place, flight)?;
            return Ok(if will_do { Access::Joined(waiter) } else { Access::Follows(waiter) });
        }
        let start = FlightStart {
            key: subject.place,
            epoch: self.0.validity.now(),
            number: self.position(),
            started: self.0.world.now(),
            until: budget.until,
            tags: Arc::clone(&subject.tags),
            looks: false,
            of: Some(subject.name.clone()),
            background: false,
        };
        let handle = self.0.flights.start(&mut shard, start)?;
        Ok(Access::Started(self.0.flights.wait_for(subject.place, &handle.flight), handle))
    }

    /// Whether what a load brings would be alive, and the load lasts long enough for this reader.
    fn may_share_load(&self, ttl: Duration, budget: WaitBudget, flight: &Flight) -> bool {
        let is_young = self.0.world.now().since(flight.started) < ttl;
        // What it reads may be what its row was before.
        let is_of_now = self.key_holds(&flight.tags, flight.epoch) && self.may_join_key_load(flight.started);
        is_young && is_of_now && self.0.rules.shared_flights && flight.until >= budget.min_until
    }

    /// A load that nobody shares, and that the key does not hold.
    async fn load_key_alone(
        &self,
        subject: &Subject,
        load: &KeyLoad<O::Call>,
        budget: WaitBudget,
    ) -> Result<KeyAnswer, Overload> {
        let _slot = self.0.flights.slot()?;
        let (number, serial, started) = (self.position(), self.0.flights.take_serial(), self.0.world.now());
        let loaded = self.load(load.call.clone(), budget.until).await;
        let span = LoadSpan { serial, number, ended: self.0.flights.take_serial() };
        subject.namespace.count_load(&loaded.load);
        let (version, age) = (self.next_version(&subject.place), self.0.world.now().since(started));
        let of_origin = loaded.version;
        let ttl = load.ttl.saturating_sub(age);
        let found = loaded.load.map(|value| Found { value, version, of_origin, age, ttl, span });
        Ok(answer(found, Outcome::Bypass))
    }

    fn finish_key(&self, handle: FlightHandle, subject: &Subject, ttl: Duration, loaded: Loaded) {
        let (flight, trace) = (&handle.flight, loaded.trace);
        subject.namespace.count_load(&loaded.load);
        let (entry, is_held) = {
            let mut shard = self.0.flights.lock(&handle.key);
            // The fill guard: leaving the newest place and storing happen under one lock.
            let is_newest = shard.retire(&handle.key, flight) || !self.0.rules.fill_guard;
            let entry = Arc::new(self.key_entry(flight, subject, ttl, loaded));
            let may_hold = is_newest && self.may_hold_key(flight.started);
            let is_held = may_hold && self.found(&entry).is_some() && self.is_newest(&handle.key, &entry);
            if is_held {
                self.hold(&handle.key, &entry);
            }
            (entry, is_held)
        };
        self.make_room(&subject.namespace);
        let version = entry.as_put().map(|put| put.version);
        let stored = is_held && self.stored_version(&handle.key) == version;
        let starter_deadline = self.ended_by_starter_deadline(flight, &entry).then_some(flight.until);
        let asked_until = flight.epoch;
        let (tagged, is_shared) = (true, false);
        handle.finish(LoadOutcome { entry, tagged, asked_until, stored, is_shared, starter_deadline, trace });
    }

    /// What a load brought, as the key may hold it.
    fn key_entry(&self, flight: &Flight, subject: &Subject, ttl: Duration, loaded: Loaded) -> Entry {
        let (tags, epoch, started) = (Arc::clone(&flight.tags), flight.epoch, flight.started);
        match loaded.load {
            Ok(value) => {
                let version = self.next_version(&subject.place);
                let put = Put::new(version, subject.name.clone(), started.after(ttl)).of_origin(loaded.version);
                let versioned = self.versioned(subject.place, loaded.version);
                Entry::put(value, tags, epoch, started, put).versioned(versioned).of_load(self.ended(flight))
            }
            Err(failure) => Entry::new(Err(failure), loaded.metadata, epoch, started, tags, 1.0),
        }
    }

    /// What a load brought, as its readers see it, whether the key holds it or not.
    fn brought(&self, entry: &Entry) -> Result<Found, Failure> {
        let value = entry.load()?;
        let put = entry.as_put().ok_or_else(Failure::dropped)?;
        let now = self.0.world.now();
        let (age, ttl) = (now.since(entry.started), put.expires().since(now));
        Ok(Found { value, version: put.version, of_origin: put.of_origin, age, ttl, span: entry.span })
    }
}

/// Runs a load in its own task: it ends early only when nobody waits for it any more.
async fn run<O, S, W>(engine: Engine<O, S, W>, handle: FlightHandle, subject: Subject, load: KeyLoad<O::Call>)
where
    O: Origin,
    S: Store,
    W: World,
{
    if let Some(loaded) = handle.unless_abandoned(engine.load(load.call, handle.flight.until)).await {
        engine.finish_key(handle, &subject, load.ttl, loaded);
    }
}

fn answer(found: Result<Found, Failure>, outcome: Outcome) -> KeyAnswer {
    KeyAnswer { found, outcome, stored: false, collapsed: false, trace: None }
}
