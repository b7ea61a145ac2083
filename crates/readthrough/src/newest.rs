//! Which of two answers is the newer, where their origin gives versions (`versions`).

use crate::engine::Engine;
use crate::entry::Entry;
use crate::key::Key;
use crate::origin::Origin;
use crate::store::Store;
use crate::versions::Versioned;
use crate::world::{Moment, World};

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// A version that an origin has told now, as an entry at this place has it.
    pub(crate) fn versioned(&self, place: Key, version: Option<u64>) -> Option<Versioned> {
        version.and_then(|version| self.versioned_at(place, Some(version), self.0.world.now()))
    }

    /// The same for one that it told then.
    pub(crate) fn versioned_at(&self, place: Key, version: Option<u64>, told: Moment) -> Option<Versioned> {
        version.map(|number| Versioned::new(number, told, place, &self.0.tombstones))
    }

    /// Whether what a load brought may be stored at its place: it is no older than what stands there, valid or not, or stood
    /// there. The caller has the lock of the key's shard, and stores it then.
    pub(crate) fn is_newest(&self, place: &Key, loaded: &Entry) -> bool {
        let Some(version) = loaded.version().filter(|_| self.0.rules.versions_win) else { return true };
        let (stored, now) = (self.0.store.get(place), self.0.world.now());
        let stored = stored.as_ref().and_then(|stored| stored.as_versioned());
        // What stands there has a version of its own: what was forgotten of its place is older.
        let least = match stored.and_then(|stored| stored.least_at(now)) {
            Some(least) => least.max(self.0.tombstones.own(place, now)),
            None => self.0.tombstones.least(place, now),
        };
        let is_newest = version >= least;
        match stored {
            _ if !is_newest => self.0.metrics.older_version(),
            Some(stored) => stored.supersede(),
            None => {}
        }
        is_newest
    }

    /// The version of what stands at a place.
    pub(crate) fn version_at(&self, place: &Key) -> Option<u64> {
        self.0.store.get(place)?.version()
    }

    /// Forbids that what is older is stored at a place from now on.
    pub(crate) fn bury(&self, place: &Key, least: Option<u64>) {
        if let Some(least) = least {
            self.0.tombstones.tell_time(self.0.world.now());
            self.0.tombstones.bury(*place, least);
        }
    }

    /// Forbids that what was deleted is stored again, at this version or an older one.
    pub(crate) fn bury_deleted(&self, place: &Key, version: Option<u64>) {
        self.bury(place, version.map(|version| version.saturating_add(1)));
    }
}
