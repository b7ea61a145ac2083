//! An origin that is slow, fails, and says for whom it answered.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::oracle::{Asker, OBJECTS, Oracle, Said, UNWELCOME};
use super::scheduler::{Simulated, give_way};
use crate::{Failure, Key, Loaded, Moment, Origin, Tag, World};

/// Objects change one by one, or all of one of so many groups.
pub const GROUPS: u8 = 2;

/// The oracle, and what the origin sees of the engine.
#[derive(Clone)]
pub struct SimulatedOrigin {
    pub world: Simulated,
    pub oracle: Arc<Mutex<Oracle>>,
    pub doors: Arc<Mutex<Doors>>,
}

/// Loads under way, and when something last allowed a second load of a key.
#[derive(Debug, Default)]
pub struct Doors {
    pub loads: u64,
    pub broken: Option<String>,
    tick: u64,
    excused: u64,
    cut: u64,
    under_way: Vec<(u64, Call)>,
}

impl Doors {
    /// From here on, loads that are under way may be followed by newer ones: something was invalidated, a caller left, or
    /// somebody wishes a newer answer.
    pub fn excuse(&mut self) {
        self.tick += 1;
        self.excused = self.tick;
    }

    /// A load ended for what is its own reader's affair: those who waited for it may load again, beside newer loads.
    fn cut(&mut self) {
        self.excuse();
        self.cut = self.tick;
    }

    /// The time of a question.
    pub fn ask(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    fn enter(&mut self, call: Call, now: Moment) -> u64 {
        self.loads += 1;
        if call.impatient || call.asked < self.cut {
            self.excuse();
        }
        let twin = self.under_way.iter().any(|(_, other)| {
            let between = self.excused + 1..call.asked;
            let comparable = other.key == call.key && between.contains(&other.asked);
            let comparable = comparable && !call.uncacheable() && !other.uncacheable();
            comparable && now.since(other.asked_at) <= call.ttl
        });
        if twin {
            self.broken = Some(format!("I8: two loads at once for {:?}", call.asker));
        }
        self.under_way.push((self.loads, call));
        self.loads
    }
}

/// What a load needs.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub asker: Asker,
    pub key: Key,
    pub ttl: Duration,
    /// When its reader asked.
    pub asked: u64,
    /// The same in time.
    pub asked_at: Moment,
    /// When its reader leaves.
    pub until: Moment,
    /// Whether its reader may wish a newer answer than the load under way.
    pub impatient: bool,
}

impl Call {
    /// The last object is now and then too large for its contract, and some contracts keep nothing.
    fn uncacheable(&self) -> bool {
        usize::from(self.asker.object) == OBJECTS - 1 || self.ttl.is_zero()
    }
}

/// The tag of an object.
pub fn tag(object: u8) -> Tag {
    Tag::named(&format!("object/{object}"))
}

/// The tag of the objects that change together.
pub fn group(object: u8) -> Tag {
    Tag::named(&format!("group/{}", object % GROUPS))
}

/// Whether only the answer tells the tag.
pub fn tagged_by_answer(object: u8) -> bool {
    !object.is_multiple_of(3)
}

impl Origin for SimulatedOrigin {
    type Call = Call;

    async fn load(&self, call: Call) -> Loaded {
        let dice = &self.world.dice;
        let load = self.doors.lock().unwrap().enter(call, self.world.now());
        let _leaving = Leaving { doors: Arc::clone(&self.doors), load };
        give_way(dice.roll(6)).await;
        let said = self.sample(call.asker);
        give_way(if dice.roll(40) == 0 { 80 } else { dice.roll(8) }).await;
        if dice.roll(8) == 0 {
            self.oracle.lock().unwrap().fail(call.asker.object, self.world.now());
            return failure([8, 13, 14][usize::try_from(dice.roll(3)).expect("a small number")]);
        }
        if call.asker.principal == UNWELCOME && dice.roll(8) == 0 {
            self.doors.lock().unwrap().cut();
            return failure(7);
        }
        if self.world.now() >= call.until {
            self.doors.lock().unwrap().cut();
            self.oracle.lock().unwrap().fail(call.asker.object, self.world.now());
            return failure(4);
        }
        answer(call, said)
    }
}

impl SimulatedOrigin {
    fn sample(&self, asker: Asker) -> Said {
        let version = self.oracle.lock().unwrap().current(asker.object);
        let sampled = self.world.now();
        Said { object: asker.object, tenant: asker.tenant, audience: asker.audience(), version, sampled }
    }
}

fn failure(code: i32) -> Loaded {
    Err(Failure { code, ..Failure::default() }).into()
}

fn answer(call: Call, said: Said) -> Loaded {
    let object = call.asker.object;
    let tags = if tagged_by_answer(object) { vec![tag(object), group(object)] } else { Vec::new() };
    let mut bytes = said.encode();
    let metadata = Bytes::from(bytes.clone());
    // Every few versions an object is absent: that is an answer too.
    if said.version % 7 == 6 {
        let details = Bytes::from(bytes);
        // An absence has no answer that could tell a tag.
        let tags = (!tagged_by_answer(object)).then(Vec::new);
        return Loaded { load: Err(Failure { code: 5, message: String::new(), details }), metadata, tags };
    }
    let padding = if call.uncacheable() && said.version % 5 == 4 { 2_000 } else { u64::from(object) * 40 };
    bytes.resize(bytes.len() + usize::try_from(padding).expect("a small number"), 0);
    Loaded { load: Ok(Bytes::from(bytes)), metadata, tags: Some(tags) }
}

struct Leaving {
    doors: Arc<Mutex<Doors>>,
    load: u64,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.doors.lock().unwrap().under_way.retain(|(load, _)| *load != self.load);
    }
}
