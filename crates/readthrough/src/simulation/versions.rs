//! What versions may stand where (I13): a model of its own of what was there and left.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::scheduler::Simulated;
use crate::validity::Validity;
use crate::versions::VERSION_LIFE;
use crate::{Entry, Key, Moment, World};

/// The least version that may be stored at each place.
pub(super) struct VersionModel {
    world: Simulated,
    validity: OnceLock<Arc<Validity>>,
    least: BTreeMap<Key, (u64, Moment)>,
    pub broken: Option<String>,
}

impl VersionModel {
    pub(super) fn new(world: Simulated) -> Self {
        Self { world, validity: OnceLock::new(), least: BTreeMap::new(), broken: None }
    }

    /// By which entries are judged that leave.
    pub(super) fn judge_by(&mut self, validity: Arc<Validity>) {
        self.validity.get_or_init(|| validity);
    }

    /// Something is stored where this stands, or nothing.
    pub(super) fn stored(&mut self, key: &Key, entry: &Entry, there: Option<&Entry>) {
        let Some(version) = entry.version() else { return };
        let there = there.and_then(Entry::version).unwrap_or_default();
        // A tombstone is counted from when the cache last looked at its clock.
        let is_buried = |until: &Moment| self.world.now() < *until;
        let buried = self.least.get(key).filter(|(_, until)| is_buried(until)).map_or(0, |(least, _)| *least);
        if version < there.max(buried) {
            let told = format!("I13: version {version} is stored where {there} stands and {buried} was");
            self.broken.get_or_insert(told);
        }
    }

    /// Something was taken out, or had been invalidated when it made room.
    pub(super) fn left(&mut self, key: Key, entry: &Entry, is_removed: bool) {
        let is_dead = || self.validity.get().is_some_and(|validity| !validity.holds(&entry.tags, entry.epoch));
        if let Some(version) = entry.version().filter(|_| is_removed || is_dead()) {
            let before = self.least.get(&key).map_or(0, |(least, _)| *least);
            self.least.insert(key, (version.max(before), self.world.now().after(VERSION_LIFE / 2)));
        }
    }
}
