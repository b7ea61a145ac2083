//! What the tasks of a run do: readers, whose answers are held against the oracle, and messages on their way to the cache.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, select};

use super::oracle::{Caller, Value};
use super::origin::{Call, SimulatedCall, SimulatedOrigin};
use super::requests::{key, request};
use super::scheduler::{Simulated, give_way};
use super::sender::{InvalidationSender, Message};
use super::sessions::{PassedTokens, Session};
use super::store::TrackedStore;
use crate::consistency_token::Standing;
use crate::entry::Usability;
use crate::{
    Answer, ConsistencyRequirement, Continuity, Engine, Key, Limits, Noted, Outcome, Overload, Policy, Read, Store,
    World,
};

/// The log of the one engine.
pub(super) const LOG: u128 = 0;

pub(super) const LIMITS: Limits = Limits {
    capacity: 15_400,
    // So few that now and then a reader is refused.
    waiters: 8,
    flights: 24,
    // Fewer than there are objects, so that records are forgotten all the time.
    tags: 4,
    cool_down: Duration::from_millis(200),
    uncacheable: Duration::from_millis(500),
    max_lease: Duration::ZERO,
    first_lease_time: Duration::ZERO,
};

/// What else goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// Lost invalidations are not noticed.
    pub ignore_gaps: bool,
    /// A newcomer relies on what was loaded, whoever died before it.
    pub settle_newcomers: bool,
    /// Senders say goodbye whatever they have delivered.
    pub hasty_goodbyes: bool,
    /// How far behind a replica of the origin is that answers half of the loads; then the origin gives versions.
    pub lag: Duration,
}

/// What a run saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RunStats {
    pub hits: u64,
    pub stale: u64,
    pub loads: u64,
    /// Compare-and-sets that found what they expected.
    pub exchanged: u64,
    /// Loads of keys.
    pub key_loads: u64,
    /// Writes through to the origin that were acknowledged.
    pub written: u64,
}

/// What all tasks of a run share.
#[derive(Clone)]
pub(super) struct Context {
    pub engine: Engine<SimulatedOrigin, TrackedStore, Simulated>,
    pub origin: SimulatedOrigin,
    pub world: Simulated,
    pub sender: Arc<Mutex<InvalidationSender>>,
    pub stats: Arc<Mutex<RunStats>>,
    pub broken: Arc<Mutex<Option<String>>>,
    pub faults: Faults,
}

impl Context {
    pub(super) async fn read(
        self,
        caller: Caller,
        consistency: ConsistencyRequirement,
        policy: Policy,
        session: Option<Session>,
    ) {
        let now = self.world.now();
        let wait_budget = Duration::from_millis(self.world.rng.below(10_000));
        let question = self.origin.oracle.lock().unwrap().ask(caller, consistency, now, wait_budget);
        let tick = self.origin.monitor.lock().unwrap().ask();
        let call = SimulatedCall { caller, key: key(caller), ttl: policy.ttl, asked: tick, asked_at: now };
        let passed = session.as_ref().map_or_else(PassedTokens::default, |session| session.pass(caller.object));
        let required = self.standing().require(&passed.tokens, call.key.to_bits());
        let read = Read { floor: required.floor, ..request(consistency, policy, wait_budget, call) };
        // One that was refused for want of room has nothing that could be checked.
        let Ok(answer) = self.ask(caller.object, &read).await else { return };
        {
            let mut stats = self.stats.lock().unwrap();
            stats.hits += u64::from(answer.outcome == Outcome::Hit);
            stats.stale += u64::from(answer.stale.is_some());
        }
        self.check_version(&answer, key(caller), consistency, &policy);
        let value = answer.load.as_ref().ok().and_then(|bytes| Value::decode(bytes));
        let kept = session.zip(value).map_or(Ok(()), |(session, value)| {
            session.check(&passed, caller.object, value.version.into(), required.token(&answer.span))
        });
        let oracle = self.origin.oracle.lock().unwrap();
        let checked = oracle.check(&question, &policy, &answer, LIMITS.cool_down, self.world.now());
        // A token holds where the upstream reads what it has written.
        let kept = if oracle.lags() { Ok(()) } else { kept };
        if let Err(broken) = checked.and(kept) {
            self.broken.lock().unwrap().get_or_insert(broken);
        }
    }

    /// I13: nobody is told an older version than what memory may answer with.
    fn check_version(&self, answer: &Answer, key: Key, consistency: ConsistencyRequirement, policy: &Policy) {
        let (Some(version), Some(stored)) = (answer.version, self.engine.0.store.get(&key)) else { return };
        let usability = stored.usability(policy, consistency, self.world.now());
        let is_fresh = usability == Usability::Fresh && answer.outcome != Outcome::Bypass;
        if is_fresh && stored.version() > Some(version) && self.engine.0.validity.holds(&stored.tags, stored.epoch) {
            let told = format!("I13: version {version} is told, and {:?} is stored: {answer:?}", stored.version());
            self.broken.lock().unwrap().get_or_insert(told);
        }
    }

    fn standing(&self) -> Standing {
        let (number, next_serial) = (self.engine.position(), self.engine.0.flights.next_serial());
        Standing { log: LOG, number, first_later: number + 1, process: 0, next_serial }
    }

    /// The log of the one engine moves on; where it stands now.
    pub(super) fn append(&self) -> u64 {
        self.engine.reached(self.engine.position() + 1);
        self.engine.position()
    }

    /// Some readers do not wait to the end of their time, where stale-if-error may serve an older answer.
    async fn ask(&self, object: u8, read: &Read<Call>) -> Result<Answer, Overload> {
        let mut reading = pin!(self.engine.read(read));
        let waited = pin!(give_way(self.world.rng.below(60)));
        if let Either::Left((answer, _)) = select(reading.as_mut(), waited).await {
            return answer;
        }
        match self.engine.stale_if_error(read) {
            Some(answer) => {
                self.origin.oracle.lock().unwrap().fail(object, self.world.now());
                self.origin.monitor.lock().unwrap().allow_overlap();
                Ok(answer)
            }
            None => reading.await,
        }
    }

    /// Brings a message to the cache after a while, and again until its sender is settled. Its acknowledgement then speaks for all
    /// that were sent before it.
    pub(super) async fn deliver(self, message: Message) {
        give_way(self.world.rng.below(4)).await;
        while !self.attempt(&message) {
            give_way(self.world.rng.below(4)).await;
            self.world.advance(100_000_000);
        }
    }

    fn attempt(&self, message: &Message) -> bool {
        let mut sender = self.sender.lock().unwrap();
        let noted = self.note(&mut sender, Some(message), false);
        self.append();
        self.engine.invalidate([message.tag]);
        if message.incarnation == sender.incarnation && message.sequence == sender.acknowledged + 1 {
            sender.acknowledged = message.sequence;
        }
        if !noted.is_settled && !self.faults.settle_newcomers {
            return false;
        }
        let mut oracle = self.origin.oracle.lock().unwrap();
        for (changes, is_deleted) in &sender.sent[..message.number] {
            for (object, version) in changes {
                oracle.acknowledge(*object, *version, *is_deleted);
            }
        }
        true
    }
}

impl Context {
    /// What the cache makes of a message; without one, of the sender's announcement or goodbye.
    pub(super) fn note(&self, sender: &mut InvalidationSender, message: Option<&Message>, is_last: bool) -> Noted {
        self.origin.monitor.lock().unwrap().allow_overlap();
        let noted = sender.note(message, is_last, self.world.now());
        if matches!(noted.continuity, Continuity::Gap(_)) && !self.faults.ignore_gaps {
            self.engine.invalidate_all(None);
        }
        noted
    }
}
