//! Invalidation of what the keys of a namespace hold: by tags, by a prefix of keys, or all of it.

use crate::change::Change;
use crate::engine::Engine;
use crate::namespace::Namespace;
use crate::origin::Origin;
use crate::store::Store;
use crate::world::World;

/// Names of so many keys are looked through at a time: others wait no longer for the lock.
const CHUNK: usize = 256;

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// Once this returns, no read that starts later sees a value put before under one of the tenant's tags.
    pub fn invalidate_tags(&self, namespace: &Namespace, tenant: &str, tags: &[String]) {
        let changes = &namespace.0.changes;
        // Under the lock of the log: a put that this does not reach is told after it.
        let mut log = changes.lock();
        self.invalidate(tags.iter().map(|name| namespace.tag(tenant, name)));
        if self.is_alone() {
            changes.add(&mut log, tenant, Change::TagsInvalidated(tags.into()));
        }
    }

    /// Once this returns, no read that starts later sees a value put, or loaded, before under a key of the tenant that begins
    /// with the prefix. The empty prefix is that of all its keys.
    pub fn invalidate_prefix(&self, namespace: &Namespace, tenant: &str, prefix: &str) {
        self.drop_keys(namespace, Some((tenant, prefix)));
        self.tell(namespace, tenant, Change::PrefixInvalidated(prefix.into()));
    }

    /// Drops what the keys of a tenant hold that begin with a prefix, or all keys of the namespace.
    pub(crate) fn drop_keys(&self, namespace: &Namespace, of: Option<(&str, &str)>) {
        // First of all: what a load or a write has stored before this is found by what follows, and none stores anything after it.
        if self.0.rules.invalidation_reaches_writes {
            namespace.end_generation();
        }
        if self.0.rules.invalidation_retires_loads {
            self.0.flights.retire_all(|name| name.is_of(&namespace.0.quota, of));
        }
        let mut after = None;
        loop {
            let (places, last) = namespace.0.quota.places(of, after.as_ref(), CHUNK);
            for place in &places {
                // Never between the two halves of a compare-and-set.
                let _shard = self.0.flights.lock(place);
                self.0.store.remove(place);
            }
            if places.len() < CHUNK {
                break;
            }
            after = last;
        }
    }

    /// Lets all keys of all tenants hold nothing, and what is being loaded for them be held by nobody. Who watches begins anew.
    pub fn forget_namespace(&self, namespace: &Namespace) {
        self.drop_keys(namespace, None);
        namespace.forget_changes();
    }
}
