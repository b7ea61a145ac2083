//! An origin that is slow, fails, and says for whom it answered.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::key_model::KeyCall;
use super::oracle::{Caller, OBJECTS, Oracle, REFUSED_PRINCIPAL, Value};
use super::scheduler::{Simulated, give_way};
use super::through_model::ThroughCall;
use crate::{Failure, Key, Loaded, Moment, Origin, Tag, World};

/// Objects change one by one, or all of one of so many groups.
pub(super) const GROUPS: u8 = 2;

/// The oracle, and what the origin sees of the engine.
#[derive(Clone)]
pub(super) struct SimulatedOrigin {
    pub world: Simulated,
    pub oracle: Arc<Mutex<Oracle>>,
    pub monitor: Arc<Mutex<LoadMonitor>>,
}

/// Loads in flight, and when something last allowed a second load of a key.
#[derive(Debug, Default)]
pub(super) struct LoadMonitor {
    pub loads: u64,
    pub broken: Option<String>,
    tick: u64,
    overlap_allowed: u64,
    ended_for_own_reader: u64,
    in_flight: Vec<InFlight>,
}

/// A load in flight.
#[derive(Debug)]
struct InFlight {
    load: u64,
    call: SimulatedCall,
    /// A newer one began beside it, for a reader to whom it was too old. Those who ask now have nothing to do with it.
    is_overtaken: bool,
}

impl LoadMonitor {
    /// From here on, loads that are in flight may be followed by newer ones: something was invalidated, or a caller left.
    pub(super) fn allow_overlap(&mut self) {
        self.tick += 1;
        self.overlap_allowed = self.tick;
    }

    /// A load ended for what is its own reader's affair: those who waited for it may load again, beside newer loads.
    fn end_for_own_reader(&mut self) {
        self.allow_overlap();
        self.ended_for_own_reader = self.tick;
    }

    /// The time of a question.
    pub(super) fn ask(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    fn enter(&mut self, call: SimulatedCall, now: Moment) -> u64 {
        self.loads += 1;
        if call.asked < self.ended_for_own_reader {
            self.allow_overlap();
        }
        let comparable = |other: &&InFlight| {
            let between = self.overlap_allowed + 1..call.asked;
            let is_same = other.call.key == call.key && between.contains(&other.call.asked);
            let is_kept = !call.uncacheable() && !other.call.uncacheable();
            is_same && is_kept && !other.is_overtaken && now.since(other.call.asked_at) <= call.ttl
        };
        if let Some(twin) = self.in_flight.iter().find(comparable) {
            self.broken = Some(format!("I8: two loads at once: {call:?} beside {:?}", twin.call));
        }
        for older in self.in_flight.iter_mut().filter(|older| older.call.key == call.key) {
            older.is_overtaken |= !call.uncacheable();
        }
        self.in_flight.push(InFlight { load: self.loads, call, is_overtaken: false });
        self.loads
    }
}

/// What is loaded.
#[derive(Clone)]
pub(super) enum Call {
    /// An object.
    Object(SimulatedCall),
    /// A key of a namespace.
    Key(KeyCall),
    /// A key of a namespace that is written through.
    Through(ThroughCall),
}

/// What a load of an object needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct SimulatedCall {
    pub caller: Caller,
    pub key: Key,
    pub ttl: Duration,
    /// When its reader asked.
    pub asked: u64,
    /// The same in time.
    pub asked_at: Moment,
}

impl SimulatedCall {
    /// The last object is now and then too large for its contract, and some contracts keep nothing.
    fn uncacheable(&self) -> bool {
        usize::from(self.caller.object) == OBJECTS - 1 || self.ttl.is_zero()
    }
}

/// The tag of an object.
pub(super) fn tag(object: u8) -> Tag {
    Tag::named(&format!("object/{object}"))
}

/// The tag of the objects that change together.
pub(super) fn group(object: u8) -> Tag {
    Tag::named(&format!("group/{}", object % GROUPS))
}

/// Whether only the answer tells the tag.
pub(super) fn tagged_by_answer(object: u8) -> bool {
    !object.is_multiple_of(3)
}

impl Origin for SimulatedOrigin {
    type Call = Call;

    async fn load(&self, call: Call, time: Duration) -> Loaded {
        match call {
            Call::Object(call) => self.load_object(call, time).await,
            Call::Key(call) => self.load_keys(vec![call], time).await.remove(0),
            Call::Through(call) => self.load_through(call).await,
        }
    }

    async fn load_batch(&self, calls: Vec<Call>, time: Duration) -> Vec<Loaded> {
        let key = |call| if let Call::Key(call) = call { Some(call) } else { None };
        self.load_keys(calls.into_iter().filter_map(key).collect(), time).await
    }
}

impl SimulatedOrigin {
    async fn load_object(&self, call: SimulatedCall, time: Duration) -> Loaded {
        let until = self.world.now().after(time);
        let rng = &self.world.rng;
        let load = self.monitor.lock().unwrap().enter(call, self.world.now());
        let _leaving = Leaving { monitor: Arc::clone(&self.monitor), load };
        give_way(rng.below(6)).await;
        let value = self.sample(call.caller);
        give_way(if rng.below(40) == 0 { 80 } else { rng.below(8) }).await;
        if rng.below(8) == 0 {
            self.oracle.lock().unwrap().fail(call.caller.object, self.world.now());
            return failure([8, 13, 14][usize::try_from(rng.below(3)).expect("a small number")]);
        }
        if call.caller.principal == REFUSED_PRINCIPAL && rng.below(8) == 0 {
            self.monitor.lock().unwrap().end_for_own_reader();
            return failure(7);
        }
        if self.world.now() >= until {
            self.monitor.lock().unwrap().end_for_own_reader();
            self.oracle.lock().unwrap().fail(call.caller.object, self.world.now());
            return failure(4);
        }
        let has_version = self.oracle.lock().unwrap().lags();
        let answer = answer(call, value);
        // An absence has no answer that could tell one.
        let version = answer.load.is_ok().then(|| u64::from(value.version)).filter(|_| has_version);
        Loaded { version, ..answer }
    }

    /// Samples all of them in one go, and fails some.
    async fn load_keys(&self, calls: Vec<KeyCall>, time: Duration) -> Vec<Loaded> {
        let (until, rng) = (self.world.now().after(time), &self.world.rng);
        give_way(rng.below(6)).await;
        let begin = |call: &KeyCall| call.model.lock().unwrap().begin_load(call.place, self.world.now());
        let numbers: Vec<_> = calls.iter().map(begin).collect();
        give_way(if rng.below(8) == 0 { 80 } else { rng.below(10) }).await;
        let end = |(call, number): (&KeyCall, u64)| match rng.below(16) {
            0 => failure(14),
            1 => failure(5),
            2 | 3 if call.principal == REFUSED_PRINCIPAL => failure(7),
            _ if self.world.now() >= until => failure(4),
            _ => Ok(Bytes::copy_from_slice(&number.to_be_bytes())).into(),
        };
        calls.iter().zip(numbers).map(end).collect()
    }

    async fn load_through(&self, call: ThroughCall) -> Loaded {
        let rng = &self.world.rng;
        give_way(rng.below(6)).await;
        let current = call.truth.lock().unwrap().current(call.key);
        give_way(rng.below(12)).await;
        match current {
            _ if rng.below(16) == 0 => failure(14),
            None => failure(5),
            Some(number) => {
                let value = Bytes::copy_from_slice(&number.to_be_bytes());
                Loaded { version: Some(number), ..Ok(value).into() }
            }
        }
    }

    fn sample(&self, caller: Caller) -> Value {
        let (oracle, sampled) = (self.oracle.lock().unwrap(), self.world.now());
        let is_lagging = oracle.lags() && self.world.rng.below(2) == 0;
        let version = if is_lagging { oracle.lagging(caller.object, sampled) } else { oracle.current(caller.object) };
        Value { object: caller.object, tenant: caller.tenant, audience: caller.audience(), version, sampled }
    }
}

fn failure(code: i32) -> Loaded {
    Err(Failure { code, ..Failure::default() }).into()
}

fn answer(call: SimulatedCall, value: Value) -> Loaded {
    let object = call.caller.object;
    let tags = if tagged_by_answer(object) { vec![tag(object), group(object)] } else { Vec::new() };
    let mut bytes = value.encode();
    let metadata = Bytes::from(bytes.clone());
    // Every few versions an object is absent: that is an answer too.
    if value.version % 7 == 6 {
        let details = Bytes::from(bytes);
        // An absence has no answer that could tell a tag.
        let tags = (!tagged_by_answer(object)).then(Vec::new);
        return Loaded {
            load: Err(Failure { code: 5, message: String::new(), details }),
            metadata,
            tags,
            version: None,
            trace: None,
        };
    }
    let padding = if call.uncacheable() && value.version % 5 == 4 { 2_000 } else { u64::from(object) * 40 };
    bytes.resize(bytes.len() + usize::try_from(padding).expect("a small number"), 0);
    Loaded { load: Ok(Bytes::from(bytes)), metadata, tags: Some(tags), version: None, trace: None }
}

struct Leaving {
    monitor: Arc<Mutex<LoadMonitor>>,
    load: u64,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.monitor.lock().unwrap().in_flight.retain(|other| other.load != self.load);
    }
}
