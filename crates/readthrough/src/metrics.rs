//! Metrics of the engine.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use accord_metric::{Declared, kind};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundUpDownCounter, Counter, Histogram, Meter};

use crate::answer::{Answer, Load, Outcome, Stale};
use crate::declared_metrics::{
    EARLY_REFRESHES, FLIGHTS, INVALIDATION_WAIT, LEASES_GRANTED, LEASES_REFUSED, LOAD_DURATION, NAMESPACE_BYTES,
    NAMESPACE_CONFLICTS, NAMESPACE_ENTRIES, NAMESPACE_LOADS, NAMESPACE_PUTS, NAMESPACE_READS, NAMESPACE_WRITES,
    OLDER_VERSIONS, ORIGINS_SKIPPED, READS, REMOVALS, SECOND_LEVEL_LOOKUPS, STALE_SERVED, WAITERS,
};
use crate::quota::Quota;
use crate::shared_value::SharedMiss;

/// The engine's instruments.
#[derive(Clone, Debug)]
pub struct Metrics {
    reads: Counter<u64>,
    /// The same by outcome, bound when the first read ends so.
    reads_by_outcome: Arc<[OnceLock<BoundCounter<u64>>; OUTCOMES]>,
    stale_served: Counter<u64>,
    early_refreshes: Counter<u64>,
    older_versions: Counter<u64>,
    origins_skipped: Counter<u64>,
    removals: Counter<u64>,
    flights: BoundUpDownCounter<i64>,
    waiters: BoundUpDownCounter<i64>,
    loads: Histogram<f64>,
    meter: Meter,
    namespace_reads: Counter<u64>,
    puts: Counter<u64>,
    conflicts: Counter<u64>,
    namespace_loads: Counter<u64>,
    namespace_writes: Counter<u64>,
    leases_granted: Counter<u64>,
    leases_refused: Counter<u64>,
    invalidation_waits: Histogram<f64>,
    second_level: Counter<u64>,
}

/// Why a reader got no lease with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseRefusal {
    /// There are no leases here.
    Off,
    /// It was loaded in the first lease time.
    FirstLeaseTime,
    /// It is stale, or it is not stored.
    NotFresh,
    /// One of its tags was invalidated a moment ago.
    InvalidatedLately,
    /// It was invalidated on its way.
    Invalid,
    /// This process may answer nothing from memory, as far as it has verified; or no time was asked for.
    Unverified,
}

impl Metrics {
    /// Instruments of this meter.
    pub fn new(meter: &Meter) -> Self {
        Self {
            reads: READS.counter(meter),
            reads_by_outcome: Arc::default(),
            stale_served: STALE_SERVED.counter(meter),
            early_refreshes: EARLY_REFRESHES.counter(meter),
            older_versions: OLDER_VERSIONS.counter(meter),
            origins_skipped: ORIGINS_SKIPPED.counter(meter),
            removals: REMOVALS.counter(meter),
            flights: FLIGHTS.up_down_counter(meter).bind(&[]),
            waiters: WAITERS.up_down_counter(meter).bind(&[]),
            loads: LOAD_DURATION.histogram(meter),
            meter: meter.clone(),
            namespace_reads: NAMESPACE_READS.counter(meter),
            puts: NAMESPACE_PUTS.counter(meter),
            conflicts: NAMESPACE_CONFLICTS.counter(meter),
            namespace_loads: NAMESPACE_LOADS.counter(meter),
            namespace_writes: NAMESPACE_WRITES.counter(meter),
            leases_granted: LEASES_GRANTED.counter(meter),
            leases_refused: LEASES_REFUSED.counter(meter),
            invalidation_waits: INVALIDATION_WAIT.histogram(meter),
            second_level: SECOND_LEVEL_LOOKUPS.counter(meter),
        }
    }

    /// Instruments of one namespace, and gauges of what it holds. Namespaces are configured, so their names are few.
    pub(crate) fn namespace(&self, name: &str, [bytes, entries]: [Weak<Quota>; 2]) -> NamespaceMetrics {
        let label = || vec![KeyValue::new("namespace", name.to_owned())];
        let bytes = move || bytes.upgrade().map(|quota| quota.bytes());
        let entries = move || entries.upgrade().map(|quota| quota.entries());
        gauge(&NAMESPACE_BYTES, &self.meter, label(), bytes);
        gauge(&NAMESPACE_ENTRIES, &self.meter, label(), entries);
        NamespaceMetrics { all: self.clone(), label: label(), hits: OnceLock::new(), misses: OnceLock::new() }
    }

    /// Tells why an entry left.
    pub fn removed(&self, cause: &'static str) {
        self.removals.add(1, &[KeyValue::new("cause", cause)]);
    }

    pub(crate) fn answered(&self, answer: &Answer) {
        let labels = [KeyValue::new("outcome", outcome(answer.outcome))];
        match self.reads_by_outcome.get(answer.outcome as usize) {
            Some(bound) => bound.get_or_init(|| self.reads.bind(&labels)).add(1),
            None => self.reads.add(1, &labels),
        }
        if let Some(stale) = answer.stale {
            self.stale_served.add(1, &[KeyValue::new("reason", reason(stale))]);
        }
    }

    pub(crate) fn refreshed_early(&self) {
        self.early_refreshes.add(1, &[]);
    }

    pub(crate) fn older_version(&self) {
        self.older_versions.add(1, &[]);
    }

    pub(crate) fn origin_skipped(&self, is_stale: bool) {
        self.origins_skipped.add(1, &[KeyValue::new("told", if is_stale { "stale" } else { "failure" })]);
    }

    pub(crate) fn not_stored(&self) {
        self.reads.add(1, &[KeyValue::new("outcome", "not-stored")]);
    }

    pub(crate) fn waiting(&self) -> GaugeGuard {
        GaugeGuard::new(&self.waiters)
    }

    pub(crate) fn in_flight(&self) -> GaugeGuard {
        GaugeGuard::new(&self.flights)
    }

    pub(crate) fn lease_granted(&self) {
        self.leases_granted.add(1, &[]);
    }

    pub(crate) fn lease_refused(&self, refusal: LeaseRefusal) {
        self.leases_refused.add(1, &[KeyValue::new("reason", lease_refusal(refusal))]);
    }

    pub(crate) fn invalidation_waits(&self, wait: Duration) {
        if !wait.is_zero() {
            self.invalidation_waits.record(wait.as_secs_f64(), &[]);
        }
    }

    pub(crate) fn looked_into_second_level(&self, miss: Option<SharedMiss>) {
        self.second_level.add(1, &[KeyValue::new("outcome", miss.map_or("hit", shared_miss))]);
    }

    pub(crate) fn loaded(&self, time: Duration, load: &Load) {
        self.loads.record(time.as_secs_f64(), &[KeyValue::new("result", result(load))]);
    }
}

/// The instruments of one namespace, with their labels.
#[derive(Debug)]
pub(crate) struct NamespaceMetrics {
    all: Metrics,
    label: Vec<KeyValue>,
    /// Bound when the first read ends so.
    hits: OnceLock<BoundCounter<u64>>,
    misses: OnceLock<BoundCounter<u64>>,
}

impl NamespaceMetrics {
    pub(crate) fn read(&self, is_hit: bool) {
        let (counter, outcome) = if is_hit { (&self.hits, "hit") } else { (&self.misses, "miss") };
        let labels = || [&self.label[..], &[KeyValue::new("outcome", outcome)]].concat();
        counter.get_or_init(|| self.all.namespace_reads.bind(&labels())).add(1);
    }

    pub(crate) fn put(&self) {
        self.all.puts.add(1, &self.label);
    }

    pub(crate) fn write(&self, is_done: bool) {
        let result = KeyValue::new("result", if is_done { "ok" } else { "failed" });
        self.all.namespace_writes.add(1, &[&self.label[..], &[result]].concat());
    }

    pub(crate) fn conflict(&self) {
        self.all.conflicts.add(1, &self.label);
    }

    pub(crate) fn loaded(&self, load: &Load) {
        let labels = [&self.label[..], &[KeyValue::new("result", result(load))]].concat();
        self.all.namespace_loads.add(1, &labels);
    }
}

/// A figure that is read when somebody looks.
pub(crate) fn gauge(
    metric: &Declared<kind::Gauge>,
    meter: &Meter,
    labels: Vec<KeyValue>,
    read: impl Fn() -> Option<u64> + Send + Sync + 'static,
) {
    metric.observe(meter, move |observer| {
        if let Some(value) = read() {
            observer.observe(value, &labels);
        }
    });
}

/// Counts as one until it is dropped: readers leave and tasks end in many ways.
#[derive(Debug)]
pub(crate) struct GaugeGuard(BoundUpDownCounter<i64>);

impl GaugeGuard {
    fn new(counter: &BoundUpDownCounter<i64>) -> Self {
        counter.add(1);
        Self(counter.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// In how many ways reads end.
const OUTCOMES: usize = 5;

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Hit => "hit",
        Outcome::Miss => "uri-miss",
        Outcome::Stale => "stale",
        Outcome::Request => "request",
        Outcome::Bypass => "bypass",
    }
}

fn reason(stale: Stale) -> &'static str {
    match stale {
        Stale::Revalidating => "revalidating",
        Stale::OriginFailed => "origin_failed",
        Stale::OlderVersion => "older_version",
        Stale::OriginTooSlow => "origin_too_slow",
    }
}

fn lease_refusal(refusal: LeaseRefusal) -> &'static str {
    match refusal {
        LeaseRefusal::Off => "off",
        LeaseRefusal::FirstLeaseTime => "first_lease_time",
        LeaseRefusal::NotFresh => "not_fresh",
        LeaseRefusal::InvalidatedLately => "invalidated_lately",
        LeaseRefusal::Invalid => "invalid",
        LeaseRefusal::Unverified => "unverified",
    }
}

fn shared_miss(miss: SharedMiss) -> &'static str {
    match miss {
        SharedMiss::Absent => "absent",
        SharedMiss::Unreadable => "unreadable",
        SharedMiss::Unavailable => "unavailable",
        SharedMiss::Late => "late",
        SharedMiss::Invalidated => "invalidated",
        SharedMiss::BeforeHistory => "before_history",
        SharedMiss::Ahead => "ahead",
        SharedMiss::OtherLog => "other_log",
        SharedMiss::TooOld => "too_old",
    }
}

fn result(load: &Load) -> &'static str {
    match load {
        Ok(_) => "ok",
        Err(failure) if failure.is_absence() => "not_found",
        Err(failure) if failure.permits_stale() => "failed",
        Err(_) => "refused",
    }
}
