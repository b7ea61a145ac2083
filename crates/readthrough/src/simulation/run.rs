//! One run: operations drawn from a seed, and the checks on what they saw.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::context::{Context, Faults, LIMITS, LOG, RunStats};
use super::keys::KeyCallers;
use super::oracle::{Caller, OBJECTS, Oracle, Value};
use super::origin::{GROUPS, LoadMonitor, SimulatedOrigin, group, tag};
use super::requests::{NOTHING, POLICY, STRICTER};
use super::scheduler::{Rng, Scheduler, Simulated};
use super::script::{Broken, Run, Script, play};
use super::sender::InvalidationSender;
use super::sessions::Session;
use super::store::TrackedStore;
use super::through::ThroughCallers;
use super::watchers::Watchers;
use crate::engine::Rules;
use crate::{ConsistencyRequirement, ConsistencyToken, Engine, Metrics, Store, World};

/// Runs a script; the first broken invariant.
pub(super) fn simulate(script: &Script, rules: Rules, faults: Faults) -> Result<RunStats, Broken> {
    let mut run = EngineRun::begin(script, rules, faults);
    play(script, &mut run)?;
    Ok(run.stats())
}

struct EngineRun {
    scheduler: Scheduler,
    context: Context,
    store: TrackedStore,
    keys: KeyCallers,
    watchers: Watchers,
    through: ThroughCallers,
    sessions: [Session; 2],
    callers: Vec<u64>,
    broken: Option<String>,
}

impl Run for EngineRun {
    fn rng(&self) -> Rng {
        self.context.world.rng.clone()
    }

    fn operate(&mut self) -> &'static str {
        let what = self.draw();
        let rng = self.rng();
        self.context.world.advance(rng.below(30_000_000));
        for _ in 0..rng.below(20) {
            self.scheduler.step();
        }
        what
    }

    fn verify(&mut self) -> Result<(), String> {
        if let Some(broken) = self.context.broken.lock().unwrap().take().or_else(|| self.broken.take()) {
            return Err(broken);
        }
        if let Some(broken) = self.context.origin.monitor.lock().unwrap().broken.take() {
            return Err(broken);
        }
        self.keys.verify()?;
        self.watchers.verify()?;
        self.through.verify()?;
        self.store.verify()?;
        let bytes = self.store.bytes();
        if bytes > LIMITS.capacity { Err(format!("I11: {bytes} bytes")) } else { Ok(()) }
    }

    fn settle(&mut self) -> Result<(), String> {
        // Whatever was lost before is noticed by this at the latest.
        self.write(false);
        while self.scheduler.step() {
            self.verify()?;
        }
        self.through.settle()?;
        self.verify_store()?;
        let flights = &self.context.engine.0.flights;
        let slots: Vec<_> = (0..LIMITS.flights).map_while(|_| flights.slot().ok()).collect();
        if slots.len() < LIMITS.flights {
            return Err(format!("I8: {} loads never end", LIMITS.flights - slots.len()));
        }
        Ok(())
    }
}

impl EngineRun {
    fn begin(script: &Script, rules: Rules, faults: Faults) -> Self {
        let world = Simulated::begin(script.rng());
        let monitor = Arc::<Mutex<LoadMonitor>>::default();
        let oracle = Arc::new(Mutex::new(Oracle::new(faults.lag)));
        let origin = SimulatedOrigin { world: world.clone(), oracle, monitor };
        let store = TrackedStore::new(LIMITS.capacity, world.clone());
        let metrics = Metrics::new(&opentelemetry::global::meter("simulation"));
        let engine = Engine::with_rules(origin.clone(), store.clone(), world.clone(), LIMITS, metrics, rules);
        store.judge_by(Arc::clone(&engine.0.validity));
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
        let (watchers, through) = (Watchers::new(&keys), ThroughCallers::new(&context.engine, &world));
        let (scheduler, callers) = (Scheduler::new(world), Vec::new());
        let sessions = [Session::new(script.seed), Session::new(!script.seed)];
        Self { scheduler, context, store, keys, watchers, through, sessions, callers, broken: None }
    }

    fn draw(&mut self) -> &'static str {
        let rng = self.rng();
        match rng.below(146) {
            143.. => self.write_in_session(),
            131.. => self.read_in_session(),
            101.. => self.call_key(),
            0..72 => self.read(ConsistencyRequirement::MinimizeLatency),
            72..80 => self.read(ConsistencyRequirement::MaxStaleness(Duration::from_millis(rng.below(2_500)))),
            80..84 => self.read(ConsistencyRequirement::Strong),
            84..90 => self.write(rng.below(8) == 0),
            90 => self.write_group(),
            91..95 => self.cancel(),
            95 => self.cancel_all(),
            96 => self.storm(),
            97 => self.restart(rng.below(2) == 0),
            98 => self.pass(rng.below(3_000_000_000)),
            99 => self.pass(rng.below(60_000_000_000)),
            100 => self.reconnect(&rng),
        }
    }

    fn storm(&self) -> &'static str {
        self.store.storm();
        "eviction of all but a few entries"
    }

    fn pass(&self, nanoseconds: u64) -> &'static str {
        self.context.world.advance(nanoseconds);
        "time passes"
    }

    fn reconnect(&mut self, rng: &Rng) -> &'static str {
        self.broken = self.watchers.reconnect(rng).err();
        "a watcher connects anew"
    }

    fn call_key(&mut self) -> &'static str {
        let task = match self.context.world.rng.below(4) {
            0 => self.scheduler.add(Box::pin(self.through.clone().call())),
            _ => self.scheduler.add(Box::pin(self.keys.clone().call())),
        };
        self.remember(task);
        "a caller of a namespace"
    }

    /// A caller that may leave before it has its answer.
    fn remember(&mut self, task: u64) {
        self.callers.push(task);
        if self.callers.len() > 50 {
            self.callers.remove(0);
        }
    }

    fn read(&mut self, consistency: ConsistencyRequirement) -> &'static str {
        let rng = &self.context.world.rng;
        let small = |bound: u64| u8::try_from(rng.below(bound)).expect("a small number");
        let caller = Caller { object: small(OBJECTS as u64), tenant: small(2), principal: small(2) };
        let policy = [NOTHING, STRICTER].get(usize::from(small(40))).copied().unwrap_or(POLICY);
        let task = self.scheduler.add(Box::pin(self.context.clone().read(caller, consistency, policy, None)));
        self.remember(task);
        "read"
    }

    /// A read that passes the tokens of a session.
    fn read_in_session(&mut self) -> &'static str {
        let (object, tenant) = (self.object(), self.tenant());
        let (caller, session) = (Caller { object, tenant, principal: 0 }, self.sessions[usize::from(tenant)].clone());
        let read = self.context.clone().read(caller, ConsistencyRequirement::MinimizeLatency, POLICY, Some(session));
        let task = self.scheduler.add(Box::pin(read));
        self.remember(task);
        "read in a session"
    }

    /// A write whose session has its token while its invalidation is still on its way. The log may have moved on, and that is all.
    fn write_in_session(&mut self) -> &'static str {
        let (object, tenant) = (self.object(), self.tenant());
        let changes = self.commit([object]);
        let session = &self.sessions[usize::from(tenant)];
        let write = session.committed(object, changes[0].1.into());
        if self.context.world.rng.below(2) == 0 {
            session.appended(write, ConsistencyToken::of_write(LOG, self.context.append()));
        }
        let message = self.context.sender.lock().unwrap().send(tag(object), changes);
        self.scheduler.add(Box::pin(self.context.clone().deliver(message)));
        "write in a session"
    }

    fn object(&self) -> u8 {
        u8::try_from(self.context.world.rng.below(OBJECTS as u64)).expect("a small number")
    }

    fn tenant(&self) -> u8 {
        u8::try_from(self.context.world.rng.below(2)).expect("a small number")
    }

    fn write(&mut self, lost: bool) -> &'static str {
        let object = self.object();
        let changes = self.commit([object]);
        // Some writes only expire what there is.
        let is_deleted = self.context.world.rng.below(4) > 0;
        let tag = if is_deleted { tag(object) } else { tag(object).expiring() };
        let message = self.context.sender.lock().unwrap().send(tag, changes);
        if lost {
            return "write whose invalidation is lost";
        }
        self.scheduler.add(Box::pin(self.context.clone().deliver(message)));
        "write"
    }

    fn write_group(&mut self) -> &'static str {
        let chosen = u8::try_from(self.context.world.rng.below(GROUPS.into())).expect("a small number");
        let objects = u8::try_from(OBJECTS).expect("few objects");
        let changes = self.commit((chosen..objects).step_by(GROUPS.into()));
        let message = self.context.sender.lock().unwrap().send(group(chosen), changes);
        self.scheduler.add(Box::pin(self.context.clone().deliver(message)));
        "write of a group"
    }

    /// The sender ends, in order or not, and another one begins.
    fn restart(&mut self, in_order: bool) -> &'static str {
        let mut sender = self.context.sender.lock().unwrap();
        let is_delivered = sender.acknowledged == sender.sequence();
        if (in_order && is_delivered) || self.context.faults.hasty_goodbyes {
            self.context.note(&mut sender, None, true);
        }
        sender.restart();
        self.context.note(&mut sender, None, false);
        "another sender"
    }

    fn commit(&self, objects: impl IntoIterator<Item = u8>) -> Vec<(u8, u32)> {
        let mut oracle = self.context.origin.oracle.lock().unwrap();
        let now = self.context.world.now();
        objects.into_iter().map(|object| (object, oracle.commit(object, now))).collect()
    }

    fn cancel(&mut self) -> &'static str {
        let waiting = self.callers.len() as u64;
        if let Some(chosen) = waiting.checked_sub(1).map(|_| self.context.world.rng.below(waiting)) {
            self.scheduler.cancel(self.callers.swap_remove(usize::try_from(chosen).expect("few callers")));
            self.context.origin.monitor.lock().unwrap().allow_overlap();
        }
        "a caller leaves"
    }

    /// Nobody waits any more, for anything.
    fn cancel_all(&mut self) -> &'static str {
        while !self.callers.is_empty() {
            self.cancel();
        }
        "all callers leave"
    }

    /// What remains is what the origin says.
    fn verify_store(&self) -> Result<(), String> {
        let oracle = self.context.origin.oracle.lock().unwrap();
        let loaded = self.store.all().into_iter().filter(|entry| entry.as_put().is_none());
        for entry in loaded {
            if !self.context.engine.0.validity.holds(&entry.tags, entry.epoch) {
                continue;
            }
            let bytes = entry.load().unwrap_or_else(|absence| absence.details);
            let value = Value::decode(&bytes).ok_or("I1: not an answer of the origin")?;
            if value.version != oracle.current(value.object) && !oracle.lags() {
                return Err(format!("I7: {value:?} remains, and is not what the origin says"));
            }
        }
        Ok(())
    }

    fn stats(&self) -> RunStats {
        let loads = self.context.origin.monitor.lock().unwrap().loads;
        let (exchanged, key_loads) = {
            let model = self.keys.model.lock().unwrap();
            (model.exchanged, model.loads())
        };
        let written = self.through.truth.lock().unwrap().written;
        RunStats { loads, exchanged, key_loads, written, ..*self.context.stats.lock().unwrap() }
    }
}
