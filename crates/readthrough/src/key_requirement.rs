//! What a reader of a key of a namespace requires, beside that it holds something: how old it may be, and what its consistency
//! tokens ask of the load or the write that brought it.
//!
//! What a load or a write brings that began after the reader had come meets whatever it requires.

use crate::engine::Engine;
use crate::load_span::{LoadSpan, StartFloor};
use crate::origin::Origin;
use crate::policy::ConsistencyRequirement;
use crate::store::Store;
use crate::world::{Moment, World};

/// What a reader requires.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyRequirement {
    /// How old it may be.
    pub consistency: ConsistencyRequirement,
    /// What its consistency tokens ask.
    pub floor: StartFloor,
}

/// The same, of a reader that has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) required: KeyRequirement,
    /// The serial number of what begins from then on.
    pub(crate) first_newer: u64,
    /// Whether this process knew of all acknowledged changes then.
    pub(crate) is_known: bool,
}

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// A reader comes. Before anything is looked for: what is acknowledged by now was taken out before this was verified.
    pub(crate) fn ask(&self, required: KeyRequirement) -> Asked {
        let is_known = self.may_answer_keys();
        Asked { required, first_newer: self.0.flights.next_serial(), is_known }
    }

    /// Whether what began there will do for a reader.
    pub(crate) fn key_meets(&self, asked: &Asked, span: &LoadSpan, started: Moment) -> bool {
        let Asked { required: KeyRequirement { consistency, floor }, first_newer, is_known } = *asked;
        if span.serial >= first_newer {
            return true;
        }
        let is_young = match consistency {
            ConsistencyRequirement::MinimizeLatency => true,
            ConsistencyRequirement::MaxStaleness(bound) => self.0.world.now().since(started) <= bound,
            ConsistencyRequirement::Strong => false,
        };
        is_known
            && (is_young || !self.0.rules.required_age_of_keys)
            && (floor.is_met(span) || !self.0.rules.tokens_heeded)
    }
}
