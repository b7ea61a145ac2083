//! A hash map whose copies share what they have in common (copy-on-write).

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

/// As many as a byte has values. Of 100,000 entries a change copies some 400.
const SHARDS: usize = 1 << u8::BITS;

/// Values by name. A copy takes a reference count of each of 256 shards, and a change to it copies the one shard that the change meets, so that
/// each state of what is known can be kept apart from the next one, however much is known.
#[derive(Clone, Debug)]
pub struct SharedMap<V> {
    shards: Vec<Arc<HashMap<Arc<str>, V>>>,
    hasher: RandomState,
    len: usize,
}

impl<V> Default for SharedMap<V> {
    fn default() -> Self {
        // Shards are made with the first entry: most maps never have one.
        Self { shards: Vec::new(), hasher: RandomState::new(), len: 0 }
    }
}

impl<V: Clone> SharedMap<V> {
    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&V> {
        if self.is_empty() {
            return None;
        }
        self.shards[self.shard(name)].get(name)
    }

    /// Whether there is a value of this name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets the value of a name.
    pub fn insert(&mut self, name: Arc<str>, value: V) {
        if self.shards.is_empty() {
            self.shards.resize_with(SHARDS, Arc::default);
        }
        let shard = self.shard(&name);
        if Arc::make_mut(&mut self.shards[shard]).insert(name, value).is_none() {
            self.len += 1;
        }
    }

    /// Keeps the entries whose value is to be kept. A shard of which all are stays shared.
    pub fn retain(&mut self, is_kept: impl Fn(&V) -> bool) {
        for shard in &mut self.shards {
            let lost = shard.values().filter(|value| !is_kept(value)).count();
            if lost > 0 {
                Arc::make_mut(shard).retain(|_, value| is_kept(value));
                self.len -= lost;
            }
        }
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    fn shard(&self, name: &str) -> usize {
        let [byte, ..] = self.hasher.hash_one(name).to_le_bytes();
        usize::from(byte)
    }
}

impl<V: Clone> Extend<(Arc<str>, V)> for SharedMap<V> {
    fn extend<T: IntoIterator<Item = (Arc<str>, V)>>(&mut self, entries: T) {
        for (name, value) in entries {
            self.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: u64) -> SharedMap<u64> {
        let mut map = SharedMap::default();
        map.extend((0..count).map(|number| (Arc::from(number.to_string()), number)));
        map
    }

    #[test]
    fn copy_keeps_what_it_had_when_the_other_is_changed() {
        let before = filled(1000);
        let mut after = before.clone();
        after.insert("7".into(), 8);
        after.insert("new".into(), 1);
        after.retain(|value| *value >= 5);
        assert_eq!(
            (before.get("7"), before.get("new"), before.get("3"), before.len()),
            (Some(&7), None, Some(&3), 1000)
        );
        assert_eq!((after.get("7"), after.get("new"), after.get("3"), after.len()), (Some(&8), None, None, 995));
        assert_eq!((before.iter().count(), after.iter().count()), (1000, 995));
    }

    #[test]
    fn change_copies_one_shard_and_none_where_nothing_is_lost() {
        let before = filled(1000);
        let mut after = before.clone();
        after.insert("new".into(), 1);
        after.retain(|_| true);
        let shards = before.shards.iter().zip(&after.shards);
        assert_eq!(shards.filter(|(before, after)| !Arc::ptr_eq(before, after)).count(), 1);
    }

    #[test]
    fn empty_map_has_nothing() {
        let map = SharedMap::<u64>::default();
        assert!(map.is_empty() && !map.contains_key("anything") && map.iter().next().is_none());
    }
}
