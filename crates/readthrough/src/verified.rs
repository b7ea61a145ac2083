//! Until when a process may answer from memory: for as long as it can know of every acknowledged invalidation.
//!
//! One that is alone knows of all, for ever. One of several that share an invalidation log knows of them until its last
//! verification is over (`replica`). Whoever asks looks at the time *first* and at the epochs afterwards: what was acknowledged
//! before a moment that is verified has ended its epochs by then. The other way round, a process that is paused in between
//! would judge by old epochs and a new verification.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::{Engine, FOREVER};
use crate::key::Tag;
use crate::origin::Origin;
use crate::store::Store;
use crate::validity::Epoch;
use crate::world::{Moment, World};

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// Whether this process knows of every invalidation that is acknowledged by now.
    pub fn is_verified(&self) -> bool {
        let until = self.0.verified_until.load(Ordering::SeqCst);
        until == FOREVER || self.0.world.now().0 < until
    }

    /// For how long it will.
    pub(crate) fn verified_for(&self, now: Moment) -> Duration {
        match self.0.verified_until.load(Ordering::SeqCst) {
            _ if !self.0.rules.leases_end_with_verification => Duration::MAX,
            FOREVER => Duration::MAX,
            until => Moment(until).since(now),
        }
    }

    /// Whether an answer of this epoch with these tags may be given.
    pub(crate) fn holds_verified(&self, tags: &[Tag], epoch: Epoch) -> bool {
        let rules = &self.0.rules;
        if !rules.unverified_answers_nothing {
            return self.0.validity.holds(tags, epoch);
        }
        if !rules.verified_before_judged {
            let holds = self.0.validity.holds(tags, epoch);
            self.0.world.now();
            return holds && self.is_verified();
        }
        self.is_verified() && self.0.validity.holds(tags, epoch)
    }

    /// The same for one that is served because the origin fails: what expired may be, what was deleted may not.
    pub(crate) fn permits_stale(&self, tags: &[Tag], epoch: Epoch) -> bool {
        self.holds_verified(tags, epoch)
            || (self.is_verified()
                && (!self.0.rules.delete_forbids_stale || self.0.validity.permits_stale(tags, epoch)))
    }

    /// From now on until this moment, and no longer than was said before where that is later.
    pub(crate) fn verified_until(&self, until: Moment) {
        self.0.verified_until.fetch_max(until.0, Ordering::SeqCst);
    }

    /// From now on not at all.
    pub(crate) fn unverified(&self) {
        self.0.verified_until.store(0, Ordering::SeqCst);
    }
}
