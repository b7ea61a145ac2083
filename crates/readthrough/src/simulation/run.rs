//! One run: operations drawn from a seed, and the checks on what they saw.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, select};

use super::oracle::{Asker, OBJECTS, Oracle, Said};
use super::origin::{Call, Doors, GROUPS, SimulatedOrigin, group, tag, tagged_by_answer};
use super::scheduler::{Dice, Scheduler, Simulated, give_way};
use super::store::Watched;
use crate::ledger::{Continuity, Ledger};
use crate::{
    Answer, Audience, Bounds, Engine, Identity, Key, Metrics, Outcome, Overload, Policy, Read, Rules, Store, Tag, Wish,
    World,
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

const BOUNDS: Bounds = Bounds {
    capacity: 10_700,
    // So few that now and then a reader is refused.
    waiters: 8,
    flights: 24,
    // Fewer than there are objects, so that records are forgotten all the time.
    tags: 4,
    rest: Duration::from_millis(200),
    uncacheable: Duration::from_millis(500),
};

/// What else goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Lost invalidations are not noticed.
    pub ignore_gaps: bool,
}

/// What a run saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub hits: u64,
    pub stale: u64,
    pub loads: u64,
}

/// Runs a seed; the first broken invariant.
pub fn simulate(seed: u64, operations: usize, rules: Rules, faults: Faults) -> Result<Tally, String> {
    let mut run = Run::begin(seed, rules, faults);
    for _ in 0..operations {
        run.operate();
        run.verify()?;
    }
    run.settle()
}

struct Run {
    scheduler: Scheduler,
    scene: Scene,
    store: Watched,
    callers: Vec<u64>,
}

/// What all tasks of a run share.
#[derive(Clone)]
struct Scene {
    engine: Engine<SimulatedOrigin, Watched, Simulated>,
    origin: SimulatedOrigin,
    world: Simulated,
    post: Arc<Mutex<Post>>,
    tally: Arc<Mutex<Tally>>,
    broken: Arc<Mutex<Option<String>>>,
    faults: Faults,
}

/// The sender of invalidations and the cache's ledger. Messages are numbered over all lives of the sender.
struct Post {
    ledger: Ledger,
    life: u64,
    before_this_life: usize,
    sent: Vec<Vec<(u8, u32)>>,
}

impl Run {
    fn begin(seed: u64, rules: Rules, faults: Faults) -> Self {
        let world = Simulated::begin(Dice::seeded(seed));
        let doors = Arc::<Mutex<Doors>>::default();
        let origin = SimulatedOrigin { world: world.clone(), oracle: Arc::<Mutex<Oracle>>::default(), doors };
        let store = Watched::new(BOUNDS.capacity);
        let metrics = Metrics::new(&opentelemetry::global::meter("simulation"));
        let engine = Engine::with_rules(origin.clone(), store.clone(), world.clone(), BOUNDS, metrics, rules);
        let post = Post { ledger: Ledger::new(2), life: 0, before_this_life: 0, sent: Vec::new() };
        let scene = Scene {
            engine,
            origin,
            world: world.clone(),
            post: Arc::new(Mutex::new(post)),
            tally: Arc::default(),
            broken: Arc::default(),
            faults,
        };
        Self { scheduler: Scheduler::new(world), scene, store, callers: Vec::new() }
    }

    fn operate(&mut self) {
        let dice = self.scene.world.dice.clone();
        match dice.roll(100) {
            0..72 => self.read(Wish::Contract),
            72..80 => self.read(Wish::MaxStaleness(Duration::from_millis(dice.roll(2_500)))),
            80..84 => self.read(Wish::Strong),
            84..90 => self.write(dice.roll(8) == 0),
            90 => self.write_group(),
            91..95 => self.cancel(),
            95 => self.cancel_all(),
            96 => self.store.storm(),
            97 => self.scene.post.lock().unwrap().restart(),
            98 => self.scene.world.pass(dice.roll(3_000_000_000)),
            _ => self.scene.world.pass(dice.roll(60_000_000_000)),
        }
        self.scene.world.pass(dice.roll(30_000_000));
        for _ in 0..dice.roll(20) {
            self.scheduler.step();
        }
    }

    fn read(&mut self, wish: Wish) {
        let dice = &self.scene.world.dice;
        let small = |sides: u64| u8::try_from(dice.roll(sides)).expect("a small number");
        let asker = Asker { object: small(OBJECTS as u64), tenant: small(2), principal: small(2) };
        let policy = [NOTHING, STRICTER].get(usize::from(small(40))).copied().unwrap_or(POLICY);
        let caller = self.scheduler.add(Box::pin(self.scene.clone().read(asker, wish, policy)));
        self.callers.push(caller);
        if self.callers.len() > 50 {
            self.callers.remove(0);
        }
    }

    fn write(&mut self, lost: bool) {
        let object = u8::try_from(self.scene.world.dice.roll(OBJECTS as u64)).expect("a small number");
        let changes = self.commit([object]);
        let message = self.scene.post.lock().unwrap().send(tag(object), changes);
        if !lost {
            self.scheduler.add(Box::pin(self.scene.clone().deliver(message)));
        }
    }

    fn write_group(&mut self) {
        let chosen = u8::try_from(self.scene.world.dice.roll(GROUPS.into())).expect("a small number");
        let objects = u8::try_from(OBJECTS).expect("few objects");
        let changes = self.commit((chosen..objects).step_by(GROUPS.into()));
        let message = self.scene.post.lock().unwrap().send(group(chosen), changes);
        self.scheduler.add(Box::pin(self.scene.clone().deliver(message)));
    }

    fn commit(&self, objects: impl IntoIterator<Item = u8>) -> Vec<(u8, u32)> {
        let mut oracle = self.scene.origin.oracle.lock().unwrap();
        let now = self.scene.world.now();
        objects.into_iter().map(|object| (object, oracle.commit(object, now))).collect()
    }

    fn cancel(&mut self) {
        if self.callers.is_empty() {
            return;
        }
        let chosen = usize::try_from(self.scene.world.dice.roll(self.callers.len() as u64)).expect("a small number");
        self.scheduler.cancel(self.callers.swap_remove(chosen));
        self.scene.origin.doors.lock().unwrap().excuse();
    }

    /// Nobody waits any more, for anything.
    fn cancel_all(&mut self) {
        while !self.callers.is_empty() {
            self.cancel();
        }
    }

    fn verify(&self) -> Result<(), String> {
        if let Some(broken) = self.scene.broken.lock().unwrap().take() {
            return Err(broken);
        }
        if let Some(broken) = self.scene.origin.doors.lock().unwrap().broken.take() {
            return Err(broken);
        }
        let bytes = self.store.bytes();
        if bytes > BOUNDS.capacity { Err(format!("I11: {bytes} bytes")) } else { Ok(()) }
    }

    /// Lets everything come to rest, and looks at what remains.
    fn settle(&mut self) -> Result<Tally, String> {
        // Whatever was lost before is noticed by this at the latest.
        self.write(false);
        while self.scheduler.step() {
            self.verify()?;
        }
        let oracle = self.scene.origin.oracle.lock().unwrap();
        for entry in self.store.all() {
            if !self.scene.engine.0.validity.holds(&entry.tags, entry.epoch) {
                continue;
            }
            let bytes = entry.load.as_ref().unwrap_or_else(|absence| &absence.details);
            let said = Said::decode(bytes).ok_or("I1: not an answer of the origin")?;
            if said.version != oracle.current(said.object) {
                return Err(format!("I7: {said:?} remains, and is not what the origin says"));
            }
        }
        let flights = &self.scene.engine.0.flights;
        let slots: Vec<_> = (0..BOUNDS.flights).map_while(|_| flights.slot().ok()).collect();
        if slots.len() < BOUNDS.flights {
            return Err(format!("I8: {} loads never end", BOUNDS.flights - slots.len()));
        }
        let loads = self.scene.origin.doors.lock().unwrap().loads;
        Ok(Tally { loads, ..*self.scene.tally.lock().unwrap() })
    }
}

impl Post {
    fn send(&mut self, tag: Tag, changes: Vec<(u8, u32)>) -> Message {
        self.sent.push(changes);
        let sequence = (self.sent.len() - self.before_this_life) as u64;
        Message { life: self.life, sequence, number: self.sent.len(), tag }
    }

    fn restart(&mut self) {
        self.life += 1;
        self.before_this_life = self.sent.len();
    }
}

struct Message {
    life: u64,
    sequence: u64,
    number: usize,
    tag: Tag,
}

impl Scene {
    async fn read(self, asker: Asker, wish: Wish, policy: Policy) {
        let now = self.world.now();
        let patience = Duration::from_millis(self.world.dice.roll(10_000));
        let question = self.origin.oracle.lock().unwrap().ask(asker, wish, now, patience);
        let tick = self.origin.doors.lock().unwrap().ask();
        let call = Call {
            asker,
            key: key(asker),
            ttl: policy.ttl,
            asked: tick,
            asked_at: now,
            until: now.after(patience),
            impatient: wish != Wish::Contract,
        };
        // One that was refused for want of room has nothing that could be checked.
        let Ok(answer) = self.ask(&request(wish, policy, patience, call)).await else { return };
        {
            let mut tally = self.tally.lock().unwrap();
            tally.hits += u64::from(answer.outcome == Outcome::Hit);
            tally.stale += u64::from(answer.stale.is_some());
        }
        let oracle = self.origin.oracle.lock().unwrap();
        if let Err(broken) = oracle.check(&question, &policy, &answer, BOUNDS.rest, self.world.now()) {
            self.broken.lock().unwrap().get_or_insert(broken);
        }
    }

    /// Some readers do not wait to the end of their time, where an older answer may stand in.
    async fn ask(&self, read: &Read<Call>) -> Result<Answer, Overload> {
        let mut reading = pin!(self.engine.read(read));
        let waited = pin!(give_way(self.world.dice.roll(60)));
        if let Either::Left((answer, _)) = select(reading.as_mut(), waited).await {
            return answer;
        }
        match self.engine.stand_in(read) {
            Some(answer) => {
                self.origin.oracle.lock().unwrap().fail(read.call.asker.object, self.world.now());
                self.origin.doors.lock().unwrap().excuse();
                Ok(answer)
            }
            None => reading.await,
        }
    }

    /// Brings a message to the cache after a while. Its acknowledgement speaks for all that were sent before it.
    async fn deliver(self, message: Message) {
        give_way(self.world.dice.roll(4)).await;
        self.origin.doors.lock().unwrap().excuse();
        let mut post = self.post.lock().unwrap();
        let continuity = post.ledger.note(&message.life.to_string(), message.sequence);
        if continuity == Continuity::Broken && !self.faults.ignore_gaps {
            self.engine.invalidate_all();
        }
        self.engine.invalidate([message.tag]);
        let mut oracle = self.origin.oracle.lock().unwrap();
        for (object, version) in post.sent[..message.number].iter().flatten() {
            oracle.acknowledge(*object, *version);
        }
    }
}

fn request(wish: Wish, policy: Policy, patience: Duration, call: Call) -> Read<Call> {
    let object = call.asker.object;
    let tags: Vec<Tag> = if tagged_by_answer(object) { Vec::new() } else { vec![tag(object), group(object)] };
    Read { key: call.key, policy, tags: tags.into(), wish, patience, call }
}

fn key(who: Asker) -> Key {
    let tenant = ["north", "south"][usize::from(who.tenant)];
    let principal = ["ada", "bob"][usize::from(who.principal)];
    let audience = if who.shared() { Audience::Shared } else { Audience::Principal(principal) };
    Key::of(&Identity { method: "m", origin: "o", tenant, audience, bytes: &[who.object] })
}
