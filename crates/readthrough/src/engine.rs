//! The engine: what its reads share, and invalidation.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use opentelemetry::metrics::Meter;

use crate::declared_metrics::{BYTES, BYTES_LIMIT, ENTRIES};
use crate::flight::Flights;
use crate::key::Tag;
use crate::lease::Leases;
use crate::limits::Limits;
use crate::metrics::{self, Metrics};
use crate::namespace::Namespace;
use crate::origin::Origin;
use crate::shared_value::{self, SecondLevel};
use crate::store::Store;
use crate::validity::Validity;
use crate::versions::{Tombstones, VERSION_LIFE};
use crate::world::{Moment, World};
use crate::write_turns::WriteTurns;

/// Until when a process may answer that is alone. It need not look at its clock.
pub(crate) const FOREVER: u64 = u64::MAX;

/// The engine. Clones share everything.
#[derive(Debug)]
pub struct Engine<O, S, W>(pub(crate) Arc<Parts<O, S, W>>);

impl<O, S, W> Clone for Engine<O, S, W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
pub(crate) struct Parts<O, S, W> {
    pub(crate) origin: O,
    pub(crate) store: S,
    pub(crate) world: W,
    pub(crate) validity: Arc<Validity>,
    /// What versions may be stored where something left.
    pub(crate) tombstones: Arc<Tombstones>,
    pub(crate) leases: Leases,
    /// Until when answers may come from memory, in nanoseconds: for ever where this process is the only one.
    pub(crate) verified_until: AtomicU64,
    pub(crate) second_level: OnceLock<Arc<dyn SecondLevel>>,
    /// The newest number of the invalidation log that this process has read.
    pub(crate) position: AtomicU64,
    pub(crate) flights: Arc<Flights>,
    pub(crate) write_turns: WriteTurns,
    /// The namespaces by their names: what replicas tell each other of is looked for here.
    pub(crate) namespaces: RwLock<HashMap<Box<str>, Namespace>>,
    /// The newest version that was given to a value of a namespace.
    pub(crate) versions: AtomicU64,
    pub(crate) limits: Limits,
    pub(crate) rules: Rules,
    pub(crate) metrics: Metrics,
}

/// The rules that a simulation takes out one by one, to see that it would notice.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a rule of its own")]
pub(crate) struct Rules {
    pub(crate) shared_flights: bool,
    pub(crate) fill_guard: bool,
    pub(crate) start_epochs: bool,
    pub(crate) tag_floor: bool,
    pub(crate) delete_forbids_stale: bool,
    pub(crate) versions_win: bool,
    pub(crate) tombstone_floor: bool,
    pub(crate) version_life: Duration,
    pub(crate) reload_after_starter_deadline: bool,
    pub(crate) compare: bool,
    pub(crate) absent_when_dead: bool,
    pub(crate) unique_versions: bool,
    pub(crate) release_by_version: bool,
    pub(crate) quota: bool,
    pub(crate) put_retires_loads: bool,
    pub(crate) delete_retires_loads: bool,
    pub(crate) invalidation_retires_loads: bool,
    pub(crate) invalidation_reaches_writes: bool,
    pub(crate) changes_leave_tombstones: bool,
    pub(crate) required_age_of_keys: bool,
    pub(crate) changes_retire_loads: bool,
    pub(crate) write_turns: bool,
    pub(crate) failed_writes_forget: bool,
    pub(crate) new_enough_flights: bool,
    pub(crate) one_flight_after_another: bool,
    pub(crate) noted_before_judged: bool,
    pub(crate) epoch_ends_before_look: bool,
    pub(crate) invalidation_waits: bool,
    pub(crate) valid_answers_leased_alone: bool,
    pub(crate) noted_for_each_waiter: bool,
    pub(crate) two_holders_kept: bool,
    pub(crate) restless_tags_refused: bool,
    pub(crate) first_time_acknowledges_nothing: bool,
    pub(crate) first_time_grants_nothing: bool,
    pub(crate) first_time_joins_nothing: bool,
    pub(crate) first_time_keeps_nothing: bool,
    pub(crate) unverified_answers_nothing: bool,
    pub(crate) verified_before_judged: bool,
    pub(crate) older_loads_joined_if_verified: bool,
    pub(crate) leases_end_with_verification: bool,
    pub(crate) second_level: shared_value::Rules,
    pub(crate) tokens_heeded: bool,
    pub(crate) tokens_heeded_by_waiters: bool,
    pub(crate) spans_of_start: bool,
}

impl Rules {
    pub(crate) const ALL: Self = Self {
        shared_flights: true,
        fill_guard: true,
        start_epochs: true,
        tag_floor: true,
        delete_forbids_stale: true,
        versions_win: true,
        tombstone_floor: true,
        version_life: VERSION_LIFE,
        reload_after_starter_deadline: true,
        compare: true,
        absent_when_dead: true,
        unique_versions: true,
        release_by_version: true,
        quota: true,
        put_retires_loads: true,
        delete_retires_loads: true,
        invalidation_retires_loads: true,
        invalidation_reaches_writes: true,
        changes_leave_tombstones: true,
        required_age_of_keys: true,
        changes_retire_loads: true,
        write_turns: true,
        failed_writes_forget: true,
        new_enough_flights: true,
        one_flight_after_another: true,
        noted_before_judged: true,
        epoch_ends_before_look: true,
        invalidation_waits: true,
        valid_answers_leased_alone: true,
        noted_for_each_waiter: true,
        two_holders_kept: true,
        restless_tags_refused: true,
        first_time_acknowledges_nothing: true,
        first_time_grants_nothing: true,
        first_time_joins_nothing: true,
        first_time_keeps_nothing: true,
        unverified_answers_nothing: true,
        verified_before_judged: true,
        older_loads_joined_if_verified: true,
        leases_end_with_verification: true,
        second_level: shared_value::Rules::ALL,
        tokens_heeded: true,
        tokens_heeded_by_waiters: true,
        spans_of_start: true,
    };
}

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// An empty cache before an origin. The first lease time begins: a process before this one must have ended.
    pub fn new(origin: O, store: S, world: W, limits: Limits, metrics: Metrics) -> Self {
        Self::with_rules(origin, store, world, limits, metrics, Rules::ALL)
    }

    pub(crate) fn with_rules(origin: O, store: S, world: W, limits: Limits, metrics: Metrics, rules: Rules) -> Self {
        let first_ends = world.now().after(limits.first_lease_time);
        let leases = Leases::new(limits.tags, limits.max_lease, first_ends, rules.two_holders_kept);
        let validity = Arc::new(Validity::new(limits.tags, rules.tag_floor));
        let tombstones =
            Arc::new(Tombstones::new(Arc::clone(&validity), limits.tags, rules.version_life, rules.tombstone_floor));
        Self(Arc::new(Parts {
            origin,
            store,
            world,
            validity,
            tombstones,
            leases,
            verified_until: AtomicU64::new(FOREVER),
            second_level: OnceLock::new(),
            position: AtomicU64::new(0),
            flights: Arc::new(Flights::new(limits.flights, limits.waiters)),
            write_turns: WriteTurns::default(),
            namespaces: RwLock::default(),
            versions: AtomicU64::new(0),
            limits,
            rules,
            metrics,
        }))
    }

    /// Once this returns, no read that starts later sees an answer loaded before it under one of the tags, but what has expired
    /// while its origin fails; for what is leased, see [`Engine::invalidate_leased`].
    pub fn invalidate(&self, tags: impl IntoIterator<Item = Tag>) {
        for tag in tags {
            self.0.validity.invalidate(tag);
        }
    }

    /// Its process has read the invalidation log up to this number. To be called before the epochs of what it read are ended: then
    /// no entry that outlives them has a number of another log.
    pub(crate) fn reached(&self, number: u64) {
        self.0.position.store(number, Ordering::SeqCst);
    }

    /// The number up to which its process has read. To be called after the epoch is looked at.
    pub(crate) fn position(&self) -> u64 {
        self.0.position.load(Ordering::SeqCst)
    }

    /// The moment that it is in the engine's world.
    pub fn now(&self) -> Moment {
        self.0.world.now()
    }

    /// Shows the bytes and the number of the entries on this meter, for as long as the engine lives.
    pub fn observe(&self, meter: &Meter) {
        let (bytes, entries) = (Arc::downgrade(&self.0), Arc::downgrade(&self.0));
        let bytes = move || bytes.upgrade().map(|parts| parts.store.bytes());
        let entries = move || entries.upgrade().map(|parts| parts.store.entries());
        metrics::gauge(&BYTES, meter, Vec::new(), bytes);
        let limit = self.0.limits.capacity;
        metrics::gauge(&BYTES_LIMIT, meter, Vec::new(), move || Some(limit));
        metrics::gauge(&ENTRIES, meter, Vec::new(), entries);
    }
}
