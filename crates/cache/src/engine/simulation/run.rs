//! One run: operations drawn from a seed, and the checks on what they saw.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::oracle::{Asker, OBJECTS, Oracle, Said};
use super::origin::{Call, Doors, SimulatedOrigin, tag, tagged_by_answer};
use super::scheduler::{Dice, Scheduler, Simulated, give_way};
use super::store::PlainStore;
use crate::engine::{
    Audience, Bounds, Engine, Identity, Key, Metrics, Outcome, Policy, Read, Rules, Store, Tag, Wish, World,
};
use crate::ledger::{Continuity, Ledger};

const POLICY: Policy = Policy {
    ttl: Duration::from_secs(2),
    stale_while_revalidate: Duration::from_millis(500),
    stale_if_error: Duration::from_secs(2),
    negative_ttl: Duration::from_secs(1),
    max_bytes: 1_000,
};

const BOUNDS: Bounds = Bounds {
    capacity: 6_000,
    waiters: 10_000,
    flights: 10_000,
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
    store: PlainStore,
    callers: Vec<u64>,
}

/// What all tasks of a run share.
#[derive(Clone)]
struct Scene {
    engine: Engine<SimulatedOrigin, PlainStore, Simulated>,
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
    sent: Vec<(u8, u32)>,
}

impl Run {
    fn begin(seed: u64, rules: Rules, faults: Faults) -> Self {
        let world = Simulated::begin(Dice::seeded(seed));
        let doors = Arc::<Mutex<Doors>>::default();
        let origin = SimulatedOrigin { world: world.clone(), oracle: Arc::<Mutex<Oracle>>::default(), doors };
        let store = PlainStore::new(BOUNDS.capacity);
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
            84..92 => self.write(dice.roll(8) == 0),
            92..96 => self.cancel(),
            96 => self.store.storm(),
            97 => self.scene.post.lock().unwrap().restart(),
            _ => self.scene.world.pass(dice.roll(3_000_000_000)),
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
        let caller = self.scheduler.add(Box::pin(self.scene.clone().read(asker, wish)));
        self.callers.push(caller);
        if self.callers.len() > 50 {
            self.callers.remove(0);
        }
    }

    fn write(&mut self, lost: bool) {
        let object = u8::try_from(self.scene.world.dice.roll(OBJECTS as u64)).expect("a small number");
        let version = self.scene.origin.oracle.lock().unwrap().commit(object, self.scene.world.now());
        let message = self.scene.post.lock().unwrap().send(object, version);
        if !lost {
            self.scheduler.add(Box::pin(self.scene.clone().deliver(message)));
        }
    }

    fn cancel(&mut self) {
        if self.callers.is_empty() {
            return;
        }
        let chosen = usize::try_from(self.scene.world.dice.roll(self.callers.len() as u64)).expect("a small number");
        self.scheduler.cancel(self.callers.swap_remove(chosen));
        self.scene.origin.doors.lock().unwrap().excuse();
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
        while self.scheduler.step() {
            self.verify()?;
        }
        let oracle = self.scene.origin.oracle.lock().unwrap();
        for entry in self.store.all() {
            let (Ok(bytes), true) = (&entry.load, self.scene.engine.0.validity.holds(&entry.tags, entry.epoch)) else {
                continue;
            };
            let said = Said::decode(bytes).ok_or("I1: not an answer of the origin")?;
            if said.version < oracle.acknowledged(said.object) {
                return Err(format!("I7: {said:?} remains after its invalidation"));
            }
        }
        let loads = self.scene.origin.doors.lock().unwrap().loads;
        Ok(Tally { loads, ..*self.scene.tally.lock().unwrap() })
    }
}

impl Post {
    fn send(&mut self, object: u8, version: u32) -> Message {
        self.sent.push((object, version));
        let sequence = (self.sent.len() - self.before_this_life) as u64;
        Message { life: self.life, sequence, number: self.sent.len(), object }
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
    object: u8,
}

impl Scene {
    async fn read(self, asker: Asker, wish: Wish) {
        let now = self.world.now();
        let patience = Duration::from_millis(self.world.dice.roll(10_000));
        let question = self.origin.oracle.lock().unwrap().ask(asker, wish, now, patience);
        let tick = self.origin.doors.lock().unwrap().ask();
        let call = Call {
            asker,
            key: key(asker),
            ttl: POLICY.ttl,
            asked: tick,
            asked_at: now,
            until: now.after(patience),
            impatient: wish != Wish::Contract,
        };
        let answer = self.engine.read(request(wish, patience, call)).await.expect("no bound is met");
        {
            let mut tally = self.tally.lock().unwrap();
            tally.hits += u64::from(answer.outcome == Outcome::Hit);
            tally.stale += u64::from(answer.stale.is_some());
        }
        let oracle = self.origin.oracle.lock().unwrap();
        if let Err(broken) = oracle.check(&question, &POLICY, &answer, self.world.now()) {
            self.broken.lock().unwrap().get_or_insert(broken);
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
        self.engine.invalidate([tag(message.object)]);
        let mut oracle = self.origin.oracle.lock().unwrap();
        for (object, version) in &post.sent[..message.number] {
            oracle.acknowledge(*object, *version);
        }
    }
}

fn request(wish: Wish, patience: Duration, call: Call) -> Read<Call> {
    let object = call.asker.object;
    let tags: Vec<Tag> = if tagged_by_answer(object) { Vec::new() } else { vec![tag(object)] };
    Read { key: call.key, policy: POLICY, tags: tags.into(), wish, patience, call }
}

fn key(who: Asker) -> Key {
    let tenant = ["north", "south"][usize::from(who.tenant)];
    let principal = ["ada", "bob"][usize::from(who.principal)];
    let audience = if who.shared() { Audience::Shared } else { Audience::Principal(principal) };
    Key::of(&Identity { method: "m", origin: "o", tenant, audience, bytes: &[who.object] })
}
