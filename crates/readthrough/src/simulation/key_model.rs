//! What each key may hold: the truth that callers of namespaces and loads of their keys are held against.
//!
//! The model knows the one value that each key may hold. The engine may have dropped it (eviction, forgotten tags), which is
//! noticed when it says that the key is absent; it never holds another value, and never again one that was gone. That a load
//! has been stored is noticed when a reader finds it: from then on the key holds it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::oracle::REFUSED_PRINCIPAL;
use crate::load::DEADLINE_MARGIN;
use crate::{Failure, Found, KeyAnswer, Moment, Outcome};

/// The life of what is loaded.
pub(super) const LOADED_TTL: Duration = Duration::from_secs(4);

/// A key, as its callers name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub namespace: usize,
    pub tenant: &'static str,
    pub key: &'static str,
}

/// What a key may hold. The number of the write, or of the load, stands in the value, and is that of no other.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub write: u64,
    pub expires: Moment,
    pub tags: Vec<String>,
    /// When it was last known to be there.
    pub known: u64,
}

/// A load that has begun.
#[derive(Clone, Copy, Debug)]
struct Begun {
    place: Place,
    at: u64,
    moment: Moment,
    /// When something was done to the key that it must not undo.
    superseded: Option<u64>,
    /// Whether the key can begin to hold it: it was not found there before, and not loaded for one reader alone.
    may_appear: bool,
}

/// What a load of a key needs.
#[derive(Clone)]
pub(super) struct KeyCall {
    pub place: Place,
    pub principal: u8,
    pub model: Arc<Mutex<Model>>,
}

/// What was true when a reader asked for a load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub place: Place,
    pub principal: u8,
    pub asked: u64,
    pub until: Moment,
}

/// The truth about all keys.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub held: BTreeMap<Place, Held>,
    loads: BTreeMap<u64, Begun>,
    writes: u64,
    tick: u64,
    pub exchanged: u64,
    pub broken: Option<String>,
}

impl Model {
    /// The number of a new value.
    pub(super) fn number(&mut self) -> u64 {
        self.writes += 1;
        self.writes
    }

    pub(super) fn tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    pub(super) fn loads(&self) -> u64 {
        self.loads.len() as u64
    }

    pub(super) fn live(&self, place: Place, now: Moment) -> Option<&Held> {
        self.held.get(&place).filter(|held| now < held.expires)
    }

    /// A load samples its value.
    pub(super) fn begin_load(&mut self, place: Place, moment: Moment) -> u64 {
        let (number, at) = (self.number(), self.tick());
        self.loads.insert(number, Begun { place, at, moment, superseded: None, may_appear: true });
        number
    }

    /// Something was done to such keys: what was sampled before must not appear there any more.
    pub(super) fn supersede(&mut self, is_meant: impl Fn(Place) -> bool) {
        let now = self.tick();
        for load in self.loads.values_mut().filter(|load| is_meant(load.place)) {
            load.superseded.get_or_insert(now);
        }
    }

    /// The key holds what was put.
    pub(super) fn put(&mut self, place: Place, write: u64, expires: Moment, tags: Vec<String>) {
        self.supersede(|other| other == place);
        let known = self.tick;
        self.held.insert(place, Held { write, expires, tags, known });
    }

    /// Whether the key may hold this value, as far as anybody can tell.
    pub(super) fn may_hold(&self, place: Place, write: u64, now: Moment) -> bool {
        let held = self.live(place, now);
        let appears = self.loads.get(&write).is_some_and(|load| {
            let is_newer = held.is_none_or(|held| load.at > held.known);
            load.place == place && load.may_appear && load.superseded.is_none() && is_newer
        });
        held.is_some_and(|held| held.write == write) || appears
    }

    /// Whether the key may hold something that nobody has found yet.
    pub(super) fn may_hold_a_load(&self, place: Place) -> bool {
        self.loads.values().any(|load| load.place == place && load.may_appear && load.superseded.is_none())
    }

    /// Holds what was found in a key against the truth, its life excepted; the number of its write.
    pub(super) fn recognize(&mut self, place: Place, found: &Found, now: Moment) -> u64 {
        let (write, known) = (decode(&found.value), self.tick());
        if !self.may_hold(place, write, now) {
            self.fail(format!("I6: {place:?} held {:?}, and {write} was seen", self.live(place, now)));
        } else if let Some(held) = self.held.get_mut(&place).filter(|held| held.write == write) {
            held.known = known;
        } else if let Some(load) = self.loads.get_mut(&write) {
            load.may_appear = false;
            let expires = load.moment.after(LOADED_TTL);
            self.held.insert(place, Held { write, expires, tags: Vec::new(), known });
        }
        write
    }

    /// Holds what a read saw against the truth; the number of the write whose value it is.
    pub(super) fn see(&mut self, place: Place, found: Option<&Found>, now: Moment) -> Option<u64> {
        let Some(found) = found else {
            // It was dropped, and never comes back.
            self.held.remove(&place);
            return None;
        };
        let write = self.recognize(place, found, now);
        if self.held.get(&place).is_some_and(|held| found.ttl > held.expires.since(now)) {
            self.fail(format!("I2: {place:?} lives for longer than it was given: {found:?}"));
        }
        Some(write)
    }

    /// Holds what a load brought its reader against the truth.
    pub(super) fn see_answer(&mut self, of: Waiting, answer: &KeyAnswer, now: Moment) -> Option<u64> {
        match &answer.found {
            Ok(found) if answer.outcome == Outcome::Hit => self.see(of.place, Some(found), now),
            Ok(found) => Some(self.see_loaded(of, found, answer.outcome == Outcome::Bypass, now)),
            Err(failure) => {
                self.see_failure(of, failure, now);
                None
            }
        }
    }

    fn see_loaded(&mut self, of: Waiting, found: &Found, is_alone: bool, now: Moment) -> u64 {
        let write = decode(&found.value);
        let load = self.loads.get(&write).copied().filter(|load| load.place == of.place);
        match load {
            None => self.fail(format!("I12: {:?} was asked for, and {write} came", of.place)),
            Some(load) if load.superseded.is_some_and(|at| at < of.asked) => {
                self.fail(format!("I6: {:?} was asked for after {load:?} was superseded, and got it", of.place));
            }
            Some(load) if found.age < now.since(load.moment) => {
                self.fail(format!("I9: {load:?} is older than it says: {found:?}"));
            }
            Some(_) => {}
        }
        if let Some(load) = self.loads.get_mut(&write).filter(|_| is_alone) {
            load.may_appear = false;
        }
        write
    }

    fn see_failure(&mut self, of: Waiting, failure: &Failure, now: Moment) {
        match failure.code {
            4 if now.after(DEADLINE_MARGIN) < of.until => {
                self.fail(format!("I12: told that its time is over before it was: {:?}", of.place));
            }
            7 if of.principal != REFUSED_PRINCIPAL => {
                self.fail(format!("I12: turned away for somebody else: {:?}", of.place));
            }
            _ => {}
        }
    }

    pub(super) fn fail(&mut self, broken: String) {
        self.broken.get_or_insert(broken);
    }
}

fn decode(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
