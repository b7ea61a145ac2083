//! A read through the cache: look up, join or start a load, wait, answer stale if the origin fails.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::answer::{Answer, Failure, Outcome, Stale, answer};
use crate::engine::Engine;
use crate::entry::{Entry, Usability};
use crate::flight::{Flight, FlightHandle, FlightStart, LoadOutcome, Waiter};
use crate::grant::Judged;
use crate::key::{Key, Tag};
use crate::lease::LeaseRequest;
use crate::limits::Overload;
use crate::load;
use crate::load_span::{LoadSpan, StartFloor};
use crate::origin::{Loaded, Origin};
use crate::policy::{ConsistencyRequirement, Policy};
use crate::second_level;
use crate::store::Store;
use crate::wait_budget::WaitBudget;
use crate::world::{Moment, World};

/// The share of the readers with too little time for whom the origin is asked all the same.
const LET_THROUGH: f64 = 0.1;

/// One read.
#[derive(Clone, Debug)]
pub struct Read<C> {
    /// The place of its answer.
    pub key: Key,
    /// What its contract allows.
    pub policy: Policy,
    /// The tags known before the load.
    pub tags: Arc<[Tag]>,
    /// How fresh an answer the reader requires.
    pub consistency: ConsistencyRequirement,
    /// What its consistency tokens ask of the load of an answer.
    pub floor: StartFloor,
    /// How long the reader waits.
    pub wait_budget: Duration,
    /// How long a load may take that runs behind a stale answer, for which nobody waits.
    pub load_timeout: Duration,
    /// How to load it.
    pub call: C,
    /// For a reader that would keep the answer in its own memory.
    pub lease: Option<LeaseRequest>,
    /// What the reader is told instead of a load of its own that would hardly end in time. None: it has time.
    pub too_late: Option<Failure>,
}

/// What was found in the store.
pub(crate) enum Lookup {
    /// An answer.
    Answer(Answer),
    /// An answer whose reload should run behind it.
    Revalidate(Answer),
    /// A load is needed, and this is why.
    Load(Outcome),
}

/// How a reader gets its load.
enum FlightAccess {
    /// It ended in the meantime.
    Answer(Answer),
    /// It waits; `collapsed` if for another reader's load.
    Wait { waiter: Waiter, collapsed: bool },
    /// It waits for a load to end that is too old for it, before it shares the next one.
    Follow(Waiter),
    /// It loads alone.
    Alone,
    /// Nothing is loaded for it: it has less time than a load takes.
    TooLate(Failure),
}

/// What a load in flight is to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joining {
    /// Its own.
    Join,
    /// Too old, but good for others: its own is the next one.
    Follow,
    /// Nothing.
    Ignore,
}

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// Answers from memory where the contract and the consistency requirement allow it, and from the origin otherwise.
    pub async fn read(&self, read: &Read<O::Call>) -> Result<Answer, Overload> {
        let answer = self.answer(read).await?;
        self.0.metrics.answered(&answer);
        Ok(answer)
    }

    /// The stored answer where one may be given, fresh or stale, for a reader who wants no load. None is started behind it.
    pub fn stored(&self, read: &Read<O::Call>) -> Option<Answer> {
        let answer = match self.lookup(read) {
            Lookup::Answer(answer) | Lookup::Revalidate(answer) => answer,
            Lookup::Load(_) => {
                self.0.metrics.not_stored();
                return None;
            }
        };
        self.0.metrics.answered(&answer);
        Some(answer)
    }

    async fn answer(&self, read: &Read<O::Call>) -> Result<Answer, Overload> {
        // Before the epoch is looked at: a process that is verified now has ended all epochs that were acknowledged before.
        let joins_older = self.is_verified();
        let (asked, first_newer) = (self.0.validity.now(), self.0.flights.next_serial());
        let needs_origin = read.consistency == ConsistencyRequirement::Strong;
        let budget = WaitBudget::new(self.0.world.now(), read.wait_budget);
        let mut budget = WaitBudget { joins_older, needs_origin, ..budget };
        let why = match self.lookup(read) {
            Lookup::Answer(answer) => {
                self.refresh_early(read, &answer);
                return Ok(answer);
            }
            Lookup::Revalidate(answer) => {
                self.revalidate(read);
                return Ok(answer);
            }
            Lookup::Load(why) => why,
        };
        loop {
            let (waiter, collapsed) = match self.join_or_start(read, budget, first_newer)? {
                FlightAccess::Answer(answer) => return Ok(answer),
                FlightAccess::Alone => return self.load_alone(read, budget).await,
                FlightAccess::TooLate(failure) => return Ok(self.skip_origin(read, failure, why)),
                FlightAccess::Wait { waiter, collapsed } => (waiter, collapsed),
                // Whatever starts after it is new enough, so this happens once at most.
                FlightAccess::Follow(waiter) => {
                    self.wait(waiter).await;
                    continue;
                }
            };
            let Some(outcome) = self.wait(waiter).await else { return Ok(lost(why)) };
            if let Some(answer) = self.shared_answer(read, &outcome) {
                return Ok(Answer { collapsed, ..answer });
            }
            if let Some(further) = self.further(budget, &outcome) {
                budget = further;
                continue;
            }
            // The origin may have turned away the principal whose load it was, and not this one.
            if collapsed && outcome.entry.failure().is_some_and(Failure::is_about_principal) {
                return self.load_alone(read, budget).await;
            }
            // An answer that was invalidated on its way is good only for those who asked before. Any later flight started
            // after this read was asked, so this happens once at most.
            let Judged { is_valid, lease } = self.judge_outcome(read, &outcome, collapsed);
            if asked <= outcome.asked_until || is_valid {
                return Ok(Answer { lease, ..self.loaded_answer(read, &outcome, why, collapsed) });
            }
        }
    }

    /// What a flight found in the second level, where it will do for this reader.
    fn shared_answer(&self, read: &Read<O::Call>, outcome: &LoadOutcome) -> Option<Answer> {
        match self.is_to_be_judged(outcome).then(|| self.look_at(read, &outcome.entry)) {
            Some(Lookup::Answer(answer)) => Some(Answer { is_shared: true, ..answer }),
            _ => None,
        }
    }

    fn is_to_be_judged(&self, outcome: &LoadOutcome) -> bool {
        outcome.is_shared && self.0.rules.second_level.waiters_judge
    }

    /// For whom the outcome of a flight is none of his: what he waits for then.
    fn further(&self, budget: WaitBudget, outcome: &LoadOutcome) -> Option<WaitBudget> {
        if self.is_to_be_judged(outcome) {
            return Some(WaitBudget { needs_origin: true, ..budget });
        }
        outcome.starter_deadline.and_then(|at| budget.after_starter_deadline(at, self.0.world.now()))
    }

    pub(crate) async fn wait(&self, mut waiter: Waiter) -> Option<Arc<LoadOutcome>> {
        let _waiting = self.0.metrics.waiting();
        waiter.outcome().await
    }

    /// Judges what a load brought. Each who waited for it has a lease of its own.
    fn judge_outcome(&self, read: &Read<O::Call>, outcome: &LoadOutcome, collapsed: bool) -> Judged {
        let (entry, rules) = (&outcome.entry, &self.0.rules);
        let is_young = self.0.world.now().since(entry.started) < entry.lifetime(&read.policy);
        let is_noted = !collapsed || rules.noted_for_each_waiter;
        // What is loaded in the first lease time is not stored.
        let is_stored = outcome.stored || !rules.first_time_grants_nothing;
        let judged = self.judge(read.lease.as_ref(), entry, is_stored && is_young, is_noted);
        Judged { is_valid: !rules.fill_guard || (outcome.tagged && judged.is_valid), ..judged }
    }

    pub(crate) fn lookup(&self, read: &Read<O::Call>) -> Lookup {
        if read.consistency == ConsistencyRequirement::Strong {
            return Lookup::Load(Outcome::Request);
        }
        let Some(entry) = self.0.store.get(&read.key) else { return Lookup::Load(Outcome::Miss) };
        self.look_at(read, &entry)
    }

    /// What an entry is to a reader.
    fn look_at(&self, read: &Read<O::Call>, entry: &Entry) -> Lookup {
        if !self.meets_tokens(read, &entry.span) {
            return Lookup::Load(Outcome::Stale);
        }
        let now = self.0.world.now();
        let usability = entry.usability(&read.policy, read.consistency, now);
        let Judged { is_valid, lease } = self.judge(read.lease.as_ref(), entry, usability == Usability::Fresh, true);
        let cooling_down = entry.is_cooling_down(now);
        if !is_valid {
            // What expired is loaded anew, unless its origin failed a moment ago.
            let stale = cooling_down.then(|| self.stored_if_error(read)).flatten();
            return stale.map_or(Lookup::Load(Outcome::Stale), Lookup::Answer);
        }
        match usability {
            Usability::Fresh => Lookup::Answer(Answer { lease, ..self.hit(read, entry, None) }),
            Usability::WhileRevalidating if !cooling_down => {
                Lookup::Revalidate(self.hit(read, entry, Some(Stale::Revalidating)))
            }
            // The origin failed a moment ago: asking it again for each reader would keep it down.
            Usability::WhileRevalidating | Usability::IfError if cooling_down => {
                Lookup::Answer(self.hit(read, entry, Some(Stale::OriginFailed)))
            }
            _ => Lookup::Load(Outcome::Stale),
        }
    }

    /// Whether a load is new enough for what the reader has written or seen before.
    pub(crate) fn meets_tokens(&self, read: &Read<O::Call>, load: &LoadSpan) -> bool {
        read.floor.is_met(load) || !self.0.rules.tokens_heeded
    }

    pub(crate) fn hit(&self, read: &Read<O::Call>, entry: &Entry, stale: Option<Stale>) -> Answer {
        Answer {
            load: entry.load(),
            metadata: entry.metadata(),
            version: entry.version(),
            outcome: Outcome::Hit,
            span: entry.span,
            took: entry.took(),
            age: self.0.world.now().since(entry.started),
            lifetime: entry.lifetime(&read.policy),
            stored: false,
            collapsed: false,
            is_shared: false,
            stale,
            lease: None,
            trace: None,
        }
    }

    /// Joins the newest load of the key, or starts one.
    fn join_or_start(
        &self,
        read: &Read<O::Call>,
        budget: WaitBudget,
        first_newer: u64,
    ) -> Result<FlightAccess, Overload> {
        let (access, handle) = self.access_flight(read, budget, first_newer)?;
        // Tasks are spawned after the lock is released: one that dies at once takes it to free the key.
        if let Some(handle) = handle {
            self.spawn(read, handle);
        }
        Ok(access)
    }

    fn access_flight(
        &self,
        read: &Read<O::Call>,
        budget: WaitBudget,
        first_newer: u64,
    ) -> Result<(FlightAccess, Option<FlightHandle>), Overload> {
        let mut shard = self.0.flights.lock(&read.key);
        // A load that ended since the first look is in the store now. Under the lock there is no such gap.
        if let Lookup::Answer(answer) = self.lookup(read) {
            return Ok((FlightAccess::Answer(answer), None));
        }
        if read.policy.ttl.is_zero() || shard.is_uncacheable(&read.key, self.0.world.now()) {
            return Ok((self.too_late(read).unwrap_or(FlightAccess::Alone), None));
        }
        if let Some(flight) = shard.newest(&read.key) {
            let waiter = || self.0.flights.join(read.key, flight);
            match self.joining(read, budget, flight, first_newer) {
                Joining::Join => return Ok((FlightAccess::Wait { waiter: waiter()?, collapsed: true }, None)),
                Joining::Follow => return Ok((FlightAccess::Follow(waiter()?), None)),
                Joining::Ignore => {}
            }
        }
        if let Some(too_late) = self.too_late(read) {
            return Ok((too_late, None));
        }
        let looks = self.looks_into_second_level(budget.needs_origin);
        let start = FlightStart { looks, ..self.flight_start(read, budget.until, false) };
        let handle = self.0.flights.start(&mut shard, start)?;
        let waiter = self.0.flights.wait_for(read.key, &handle.flight);
        Ok((FlightAccess::Wait { waiter, collapsed: false }, Some(handle)))
    }

    /// Whether no load is started for a reader that has little time. Some are: how else would it be noticed that the origin is
    /// faster now.
    fn too_late(&self, read: &Read<O::Call>) -> Option<FlightAccess> {
        let failure = read.too_late.as_ref()?;
        let is_skipped = self.0.world.random() >= LET_THROUGH;
        is_skipped.then(|| FlightAccess::TooLate(failure.clone()))
    }

    /// Whether a load in flight is new enough for this reader, and lasts long enough.
    ///
    /// One that is only too old for what this reader requires is not given up for it: then somebody who always requires the
    /// newest answer would keep any from being stored. So there is one load of a key at a time, and the next one is shared by
    /// all who asked while it ran.
    fn joining(&self, read: &Read<O::Call>, budget: WaitBudget, flight: &Flight, first_newer: u64) -> Joining {
        let rules = &self.0.rules;
        let holds = !rules.fill_guard || self.0.validity.holds(&flight.tags, flight.epoch);
        let age = self.0.world.now().since(flight.started);
        let is_newer = flight.serial >= first_newer;
        let is_first = rules.first_time_joins_nothing && self.is_first_lease_time(flight.started);
        let may_not_do = flight.looks && budget.needs_origin;
        if !rules.shared_flights || !holds || is_first || may_not_do || flight.until < budget.min_until {
            return Joining::Ignore;
        }
        let may_be_older = budget.joins_older || !rules.older_loads_joined_if_verified;
        let is_new_enough = is_newer
            || (may_be_older && !rules.new_enough_flights)
            || match read.consistency {
                _ if !may_be_older => false,
                ConsistencyRequirement::Strong => false,
                ConsistencyRequirement::MaxStaleness(bound) => age <= bound,
                ConsistencyRequirement::MinimizeLatency => true,
            } && (self.meets_tokens(read, &flight.span()) || !rules.tokens_heeded_by_waiters);
        match (is_new_enough, is_newer || age <= read.policy.ttl) {
            (true, true) => Joining::Join,
            (false, true) if rules.one_flight_after_another => Joining::Follow,
            _ => Joining::Ignore,
        }
    }

    pub(crate) fn flight_start(&self, read: &Read<O::Call>, until: Moment, background: bool) -> FlightStart {
        FlightStart {
            key: read.key,
            epoch: self.0.validity.now(),
            number: self.position(),
            started: self.0.world.now(),
            until,
            tags: Arc::clone(&read.tags),
            looks: false,
            of: None,
            background,
        }
    }

    pub(crate) fn spawn(&self, read: &Read<O::Call>, handle: FlightHandle) {
        let (engine, policy, call) = (self.clone(), read.policy, read.call.clone());
        if handle.flight.looks {
            self.0.world.spawn(second_level::run(engine, handle, policy, read.consistency, call));
        } else {
            self.0.world.spawn(load::run(engine, handle, policy, call));
        }
    }

    /// A load that nobody shares, and whose answer is not stored.
    async fn load_alone(&self, read: &Read<O::Call>, budget: WaitBudget) -> Result<Answer, Overload> {
        let _slot = self.0.flights.slot()?;
        let (number, serial, started) = (self.position(), self.0.flights.take_serial(), self.0.world.now());
        let loaded = self.load(read.call.clone(), budget.until).await;
        let age = self.0.world.now().since(started);
        let span = LoadSpan { serial, number, ended: self.0.flights.take_serial() };
        let Loaded { load, metadata, version, .. } = loaded;
        Ok(Answer { version, span, ..answer(load, metadata, Outcome::Bypass, age, Duration::ZERO) })
    }

    fn loaded_answer(&self, read: &Read<O::Call>, outcome: &LoadOutcome, why: Outcome, collapsed: bool) -> Answer {
        let (entry, trace) = (&outcome.entry, outcome.trace.filter(|_| collapsed));
        if entry.failure().is_some_and(Failure::permits_stale)
            && let Some(stale) = self.stored_if_error(read)
        {
            return Answer { collapsed, trace, ..stale };
        }
        if let Some(newer) = self.stored_newer(read, entry) {
            return Answer { collapsed, outcome: why, trace, ..newer };
        }
        let age = self.0.world.now().since(entry.started);
        let fresh = answer(entry.load(), entry.metadata(), why, age, entry.lifetime(&read.policy));
        let (stored, version) = (outcome.stored && !collapsed, entry.version());
        Answer { collapsed, span: entry.span, stored, version, trace, ..fresh }
    }
}

fn lost(why: Outcome) -> Answer {
    answer(Err(Failure::dropped()), Bytes::new(), why, Duration::ZERO, Duration::ZERO)
}
