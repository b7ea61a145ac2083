//! One run: operations drawn from a seed, and the checks on what they saw.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, select};

use super::keys::KeyCallers;
use super::oracle::{Caller, OBJECTS, Oracle, Value};
use super::origin::{Call, GROUPS, LoadMonitor, SimulatedCall, SimulatedOrigin, group, tag, tagged_by_answer};
use super::scheduler::{Rng, Scheduler, Simulated, give_way};
use super::sender::{InvalidationSender, Message};
use super::store::TrackedStore;
use super::through::ThroughCallers;
use crate::engine::Rules;
use crate::{
    Answer, Audience, ConsistencyRequirement, Continuity, Engine, Identity, Key, Limits, Metrics, Noted, Outcome,
    Overload, Policy, Read, Store, Tag, World,
};

const POLICY: Policy = Policy {
    ttl: Duration::from_secs(2),
    stale_while_revalidate: Duration::from_millis(500),
    stale_if_error: Duration::from_secs(2),
    negative_ttl: Duration::from_secs(1),
    max_bytes: 1_000,
};

/// What a reader knows whose contract is about to change: it keeps nothing long, and nothing stale.
const STRICTER: Policy = Policy {
    ttl: Duration::from_millis(300),
    stale_while_revalidate: Duration::ZERO,
    stale_if_error: Duration::ZERO,
    negative_ttl: Duration::ZERO,
    max_bytes: 1_000,
};

/// A contract that keeps nothing at all.
const NOTHING: Policy = Policy { ttl: Duration::ZERO, ..STRICTER };

const LIMITS: Limits = Limits {
    capacity: 16_000,
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

/// Runs a seed; the first broken invariant.
pub(super) fn simulate(seed: u64, operations: usize, rules: Rules, faults: Faults) -> Result<RunStats, String> {
    let mut run = Run::begin(seed, rules, faults);
    for _ in 0..operations {
        run.operate();
        run.verify()?;
    }
    run.settle()
}

struct Run {
    scheduler: Scheduler,
    context: Context,
    store: TrackedStore,
    keys: KeyCallers,
    through: ThroughCallers,
    callers: Vec<u64>,
}

/// What all tasks of a run share.
#[derive(Clone)]
struct Context {
    engine: Engine<SimulatedOrigin, TrackedStore, Simulated>,
    origin: SimulatedOrigin,
    world: Simulated,
    sender: Arc<Mutex<InvalidationSender>>,
    stats: Arc<Mutex<RunStats>>,
    broken: Arc<Mutex<Option<String>>>,
    faults: Faults,
}

impl Run {
    fn begin(seed: u64, rules: Rules, faults: Faults) -> Self {
        let world = Simulated::begin(Rng::seeded(seed));
        let monitor = Arc::<Mutex<LoadMonitor>>::default();
        let origin = SimulatedOrigin { world: world.clone(), oracle: Arc::<Mutex<Oracle>>::default(), monitor };
        let store = TrackedStore::new(LIMITS.capacity);
        let metrics = Metrics::new(&opentelemetry::global::meter("simulation"));
        let engine = Engine::with_rules(origin.clone(), store.clone(), world.clone(), LIMITS, metrics, rules);
        let sender = InvalidationSender::new(world.now());
        let context = Context {
            engine,
            origin,
            world: world.clone(),
            sender: Arc::new(Mutex::new(sender)),
            stats: Arc::default(),
            broken: Arc::default(),
            faults,
        };
        context.note(&mut context.sender.lock().unwrap(), None, false);
        let keys = KeyCallers::new(&context.engine, &world);
        let through = ThroughCallers::new(&context.engine, &world);
        Self { scheduler: Scheduler::new(world), context, store, keys, through, callers: Vec::new() }
    }

    fn operate(&mut self) {
        let rng = self.context.world.rng.clone();
        match rng.below(130) {
            100.. => self.call_key(),
            0..72 => self.read(ConsistencyRequirement::MinimizeLatency),
            72..80 => self.read(ConsistencyRequirement::MaxStaleness(Duration::from_millis(rng.below(2_500)))),
            80..84 => self.read(ConsistencyRequirement::Strong),
            84..90 => self.write(rng.below(8) == 0),
            90 => self.write_group(),
            91..95 => self.cancel(),
            95 => self.cancel_all(),
            96 => self.store.storm(),
            97 => self.restart(rng.below(2) == 0),
            98 => self.context.world.advance(rng.below(3_000_000_000)),
            99 => self.context.world.advance(rng.below(60_000_000_000)),
        }
        self.context.world.advance(rng.below(30_000_000));
        for _ in 0..rng.below(20) {
            self.scheduler.step();
        }
    }

    fn call_key(&mut self) {
        let task = match self.context.world.rng.below(4) {
            0 => self.scheduler.add(Box::pin(self.through.clone().call())),
            _ => self.scheduler.add(Box::pin(self.keys.clone().call())),
        };
        self.remember(task);
    }

    /// A caller that may leave before it has its answer.
    fn remember(&mut self, task: u64) {
        self.callers.push(task);
        if self.callers.len() > 50 {
            self.callers.remove(0);
        }
    }

    fn read(&mut self, consistency: ConsistencyRequirement) {
        let rng = &self.context.world.rng;
        let small = |bound: u64| u8::try_from(rng.below(bound)).expect("a small number");
        let caller = Caller { object: small(OBJECTS as u64), tenant: small(2), principal: small(2) };
        let policy = [NOTHING, STRICTER].get(usize::from(small(40))).copied().unwrap_or(POLICY);
        let task = self.scheduler.add(Box::pin(self.context.clone().read(caller, consistency, policy)));
        self.remember(task);
    }

    fn write(&mut self, lost: bool) {
        let object = u8::try_from(self.context.world.rng.below(OBJECTS as u64)).expect("a small number");
        let changes = self.commit([object]);
        let message = self.context.sender.lock().unwrap().send(tag(object), changes);
        if !lost {
            self.scheduler.add(Box::pin(self.context.clone().deliver(message)));
        }
    }

    fn write_group(&mut self) {
        let chosen = u8::try_from(self.context.world.rng.below(GROUPS.into())).expect("a small number");
        let objects = u8::try_from(OBJECTS).expect("few objects");
        let changes = self.commit((chosen..objects).step_by(GROUPS.into()));
        let message = self.context.sender.lock().unwrap().send(group(chosen), changes);
        self.scheduler.add(Box::pin(self.context.clone().deliver(message)));
    }

    /// The sender ends, in order or not, and another one begins.
    fn restart(&mut self, in_order: bool) {
        let mut sender = self.context.sender.lock().unwrap();
        let is_delivered = sender.acknowledged == sender.sequence();
        if (in_order && is_delivered) || self.context.faults.hasty_goodbyes {
            self.context.note(&mut sender, None, true);
        }
        sender.restart();
        self.context.note(&mut sender, None, false);
    }

    fn commit(&self, objects: impl IntoIterator<Item = u8>) -> Vec<(u8, u32)> {
        let mut oracle = self.context.origin.oracle.lock().unwrap();
        let now = self.context.world.now();
        objects.into_iter().map(|object| (object, oracle.commit(object, now))).collect()
    }

    fn cancel(&mut self) {
        if self.callers.is_empty() {
            return;
        }
        let chosen = usize::try_from(self.context.world.rng.below(self.callers.len() as u64)).expect("a small number");
        self.scheduler.cancel(self.callers.swap_remove(chosen));
        self.context.origin.monitor.lock().unwrap().allow_overlap();
    }

    /// Nobody waits any more, for anything.
    fn cancel_all(&mut self) {
        while !self.callers.is_empty() {
            self.cancel();
        }
    }

    fn verify(&self) -> Result<(), String> {
        if let Some(broken) = self.context.broken.lock().unwrap().take() {
            return Err(broken);
        }
        if let Some(broken) = self.context.origin.monitor.lock().unwrap().broken.take() {
            return Err(broken);
        }
        self.keys.verify()?;
        self.through.verify()?;
        let bytes = self.store.bytes();
        if bytes > LIMITS.capacity { Err(format!("I11: {bytes} bytes")) } else { Ok(()) }
    }

    /// Lets everything come to rest, and looks at what remains.
    fn settle(&mut self) -> Result<RunStats, String> {
        // Whatever was lost before is noticed by this at the latest.
        self.write(false);
        while self.scheduler.step() {
            self.verify()?;
        }
        self.through.settle()?;
        let oracle = self.context.origin.oracle.lock().unwrap();
        let loaded = self.store.all().into_iter().filter(|entry| entry.as_put().is_none());
        for entry in loaded {
            if !self.context.engine.0.validity.holds(&entry.tags, entry.epoch) {
                continue;
            }
            let bytes = entry.load.as_ref().unwrap_or_else(|absence| &absence.details);
            let value = Value::decode(bytes).ok_or("I1: not an answer of the origin")?;
            if value.version != oracle.current(value.object) {
                return Err(format!("I7: {value:?} remains, and is not what the origin says"));
            }
        }
        let flights = &self.context.engine.0.flights;
        let slots: Vec<_> = (0..LIMITS.flights).map_while(|_| flights.slot().ok()).collect();
        if slots.len() < LIMITS.flights {
            return Err(format!("I8: {} loads never end", LIMITS.flights - slots.len()));
        }
        let loads = self.context.origin.monitor.lock().unwrap().loads;
        let (exchanged, key_loads) = {
            let model = self.keys.model.lock().unwrap();
            (model.exchanged, model.loads())
        };
        let written = self.through.truth.lock().unwrap().written;
        Ok(RunStats { loads, exchanged, key_loads, written, ..*self.context.stats.lock().unwrap() })
    }
}

/// Shorter than many readers stay, and longer than most.
const LOAD_TIMEOUT: Duration = Duration::from_secs(7);

impl Context {
    async fn read(self, caller: Caller, consistency: ConsistencyRequirement, policy: Policy) {
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
        let oracle = self.origin.oracle.lock().unwrap();
        if let Err(broken) = oracle.check(&question, &policy, &answer, LIMITS.cool_down, self.world.now()) {
            self.broken.lock().unwrap().get_or_insert(broken);
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
    async fn deliver(self, message: Message) {
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
        for (object, version) in sender.sent[..message.number].iter().flatten() {
            oracle.acknowledge(*object, *version);
        }
        true
    }
}

impl Context {
    /// What the cache makes of a message; without one, of the sender's announcement or goodbye.
    fn note(&self, sender: &mut InvalidationSender, message: Option<&Message>, is_last: bool) -> Noted {
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
    Read { key, policy, tags: tags.into(), consistency, wait_budget, load_timeout: LOAD_TIMEOUT, call, lease: None }
}

fn key(who: Caller) -> Key {
    let tenant = ["north", "south"][usize::from(who.tenant)];
    let principal = ["ada", "bob"][usize::from(who.principal)];
    let audience = if who.shared() { Audience::Shared } else { Audience::Principal(principal) };
    Key::of(&Identity { method: "m", origin: "o", tenant, audience, bytes: &[who.object] })
}
