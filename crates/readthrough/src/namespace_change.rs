//! Namespaces of several replicas: what is done to keys at one of them is done at all, by the invalidation log.
//!
//! Their values have an origin, and memory is a cache of it. So a replica that hears of a change forgets, and loads. Their rules,
//! beside those of every key of a namespace:
//! 1. A change is appended when its origin has it, and acknowledged like an invalidation (`replica`): then every replica has
//!    applied it, or answers from memory no more.
//! 2. Who is not verified answers with nothing that it holds, and lets nobody join a load. It looks whether it is verified *before*
//!    it looks for what it holds: what was acknowledged by then is taken out already.
//! 3. A put or a deletion is applied with its version. What is held stays where it is no older; what is older is not held
//!    again, also where it comes later: a writer holds its value before its change is in the log, or after another one's is.
//! 4. In a first lease time nothing is held, and no load joined, for replicas on another log may write unheard.
//! 5. Changes are told to watchers when they are applied, under their numbers of the log. So a watcher goes on at another replica.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{PoisonError, RwLockReadGuard};

use crate::change::{Change, NamespaceChange};
use crate::engine::{Engine, FOREVER};
use crate::key::Tag;
use crate::namespace::Namespace;
use crate::origin::Origin;
use crate::store::Store;
use crate::validity::Epoch;
use crate::world::{Moment, World};

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// Whether this process has no log in common with others.
    pub(crate) fn is_alone(&self) -> bool {
        self.0.verified_until.load(Ordering::SeqCst) == FOREVER
    }

    /// A namespace of which others may tell.
    pub(crate) fn register(&self, namespace: &Namespace) {
        let mut known = self.0.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(namespace.name().into(), namespace.clone());
    }

    /// Tells those who watch. Where replicas share a log, they are told when its record is applied.
    pub(crate) fn tell(&self, namespace: &Namespace, tenant: &str, change: Change) {
        if self.is_alone() {
            let changes = &namespace.0.changes;
            changes.add(&mut changes.lock(), tenant, change);
        }
    }

    /// Whether what keys hold may be told. To be asked before it is looked for.
    pub(crate) fn may_answer_keys(&self) -> bool {
        self.is_verified() || !self.0.rules.unverified_answers_nothing
    }

    /// Whether a load of a key that started then may be joined by somebody who came later.
    pub(crate) fn may_join_key_load(&self, started: Moment) -> bool {
        self.is_alone() || !self.is_first_lease_time(started) || !self.0.rules.first_time_joins_nothing
    }

    /// Whether a key may hold what was loaded or written since then. The caller has the lock of its shard.
    pub(crate) fn may_hold_key(&self, since: Moment) -> bool {
        self.is_alone() || !self.is_first_lease_time(since) || !self.0.rules.first_time_keeps_nothing
    }

    /// Whether what a key holds is not invalidated. What replicas may have missed of each other is.
    pub(crate) fn key_holds(&self, tags: &[Tag], epoch: Epoch) -> bool {
        let validity = &self.0.validity;
        if self.is_alone() { validity.tags_hold(tags, epoch) } else { validity.holds(tags, epoch) }
    }

    /// Applies what the log has under a number.
    pub(crate) fn apply_change(&self, number: u64, of: &NamespaceChange) {
        let Some(namespace) = self.known().get(&of.namespace).cloned() else { return };
        let Some((tenant, change)) = &of.done else { return self.begin_namespace_anew(&namespace, number) };
        match change {
            Change::Put { key, version: (_, version) } => self.outdate(&namespace, (tenant, key), *version),
            Change::Deleted { key, version } => {
                let above = version.map(|version| version.saturating_add(1));
                self.outdate(&namespace, (tenant, key), above);
            }
            Change::Forgotten(key) => self.outdate(&namespace, (tenant, key), None),
            Change::TagsInvalidated(tags) => self.invalidate_tags(&namespace, tenant, tags),
            Change::PrefixInvalidated(prefix) => self.invalidate_prefix(&namespace, tenant, prefix),
        }
        let changes = &namespace.0.changes;
        changes.add_numbered(&mut changes.lock(), number, tenant, change.clone());
    }

    /// Takes out what a key holds where it is older than this version, or has none; what is being loaded is held by nobody.
    fn outdate(&self, namespace: &Namespace, (tenant, key): (&str, &str), least: Option<u64>) {
        let place = namespace.place(tenant, key);
        let mut shard = self.0.flights.lock(&place);
        if least.is_none() {
            namespace.end_generation();
        }
        let is_new = least.is_some_and(|least| self.version_at(&place).is_some_and(|held| held >= least));
        if !is_new {
            self.0.store.remove(&place);
        }
        if self.0.rules.changes_leave_tombstones {
            self.bury(&place, least);
        }
        if self.0.rules.changes_retire_loads {
            shard.retire_newest(&place);
        }
    }

    /// Changes may have been missed: no key holds anything. The next one that is heard of has a higher number than this.
    pub(crate) fn begin_keys_anew(&self, number: u64) {
        let known: Vec<_> = self.known().values().cloned().collect();
        for namespace in known {
            self.begin_namespace_anew(&namespace, number);
        }
    }

    fn begin_namespace_anew(&self, namespace: &Namespace, number: u64) {
        self.drop_keys(namespace, None);
        let changes = &namespace.0.changes;
        changes.begin_after(&mut changes.lock(), number);
    }

    fn known(&self) -> RwLockReadGuard<'_, HashMap<Box<str>, Namespace>> {
        self.0.namespaces.read().unwrap_or_else(PoisonError::into_inner)
    }
}
