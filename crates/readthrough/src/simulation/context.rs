//! What the tasks of a run do: readers, whose answers are held against the oracle, and messages on their way to the cache.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, select};

use super::oracle::Caller;
use super::origin::{Call, SimulatedCall, SimulatedOrigin, group, tag, tagged_by_answer};
use super::scheduler::{Simulated, give_way};
use super::sender::{InvalidationSender, Message};
use super::store::TrackedStore;
use crate::entry::Usability;
use crate::{
    Answer, Audience, ConsistencyRequirement, Continuity, Engine, Identity, Key, Limits, Noted, Outcome, Overload,
    Policy, Read, Store, Tag, World,
};

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

/// Shorter than many readers stay, and longer than most.
const LOAD_TIMEOUT: Duration = Duration::from_secs(7);

impl Context {
    pub(super) async fn read(self, caller: Caller, consistency: ConsistencyRequirement, policy: Policy) {
        let now = self.world.now();
        let wait_budget = Duration::from_millis(self.world.rng.below(10_000));
        let question = self.origin.oracle.lock().unwrap().ask(caller, consistency, now, wait_budget);
        let tick = self.origin.monitor.lock().unwrap().ask();
        let call = SimulatedCall { caller, key: key(caller), ttl: policy.ttl, asked: tick, asked_at: now };
        // One that was refused for want of room has nothing that could be checked.
        let Ok(answer) = self.ask(caller.object, &request(consistency, policy, wait_budget, call)).await else {
            return;
        };
        {
            let mut stats = self.stats.lock().unwrap();
            stats.hits += u64::from(answer.outcome == Outcome::Hit);
            stats.stale += u64::from(answer.stale.is_some());
        }
        self.check_version(&answer, key(caller), consistency, &policy);
        let oracle = self.origin.oracle.lock().unwrap();
        if let Err(broken) = oracle.check(&question, &policy, &answer, LIMITS.cool_down, self.world.now()) {
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

fn request(
    consistency: ConsistencyRequirement,
    policy: Policy,
    wait_budget: Duration,
    call: SimulatedCall,
) -> Read<Call> {
    let object = call.caller.object;
    let tags: Vec<Tag> = if tagged_by_answer(object) { Vec::new() } else { vec![tag(object), group(object)] };
    let (key, call) = (call.key, Call::Object(call));
    let (tags, load_timeout) = (tags.into(), LOAD_TIMEOUT);
    Read { key, policy, tags, consistency, wait_budget, load_timeout, call, lease: None, too_late: None }
}

fn key(who: Caller) -> Key {
    let tenant = ["north", "south"][usize::from(who.tenant)];
    let principal = ["ada", "bob"][usize::from(who.principal)];
    let audience = if who.shared() { Audience::Shared } else { Audience::Principal(principal) };
    Key::of(&Identity { method: "m", origin: "o", tenant, audience, bytes: &[who.object] })
}
