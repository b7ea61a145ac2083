//! One endpoint of an upstream: its connections, its load, and its ejection (outlier detection).

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use accord_runtime::reload::Reloading;
use accord_runtime::workers;
use rustls::ClientConfig;
use tokio::time::Instant;
use tonic::Code;

use crate::connect_error::ConnectError;
use crate::connect_warnings::ConnectWarnings;
use crate::connection::Settings;
use crate::discovery::Address;
use crate::metrics::{EjectionCause, Metrics};
use crate::pool::{Pool, Size};
use crate::record::{Counts, FAILURES, Record};
use crate::transport_error::TransportError;

/// The share of its calls with which a new endpoint begins (slow start).
const COLDEST: f64 = 0.1;

/// One endpoint of an upstream.
pub struct Endpoint {
    address: Address,
    label: Box<str>,
    seed: u64,
    pools: Box<[Arc<Pool>]>,
    in_flight: AtomicUsize,
    record: Mutex<Record>,
    metrics: Arc<Metrics>,
    /// When it takes calls like all others.
    warm_at: Instant,
    slow_start: Duration,
}

impl Endpoint {
    /// An endpoint whose connections are made when they are first used: a pool of them for each worker, and one for all other
    /// threads, so that no call is handed over between threads. It takes `slow_start` to warm up.
    pub(crate) fn new(
        address: &Address,
        trust: Option<&Arc<Reloading<ClientConfig>>>,
        settings: Settings,
        size: Size,
        slow_start: Duration,
        metrics: &Arc<Metrics>,
    ) -> Arc<Self> {
        let trust = trust.filter(|_| address.url.server_name.is_some());
        let label = address.to_string();
        let warnings = Arc::new(ConnectWarnings::new(metrics.upstream(), &label));
        let pool = |_| Pool::new(address.clone(), trust.cloned(), settings, size, Arc::clone(&warnings));
        let now = Instant::now();
        Arc::new(Self {
            address: address.clone(),
            seed: accord_wire::hash(label.as_bytes()),
            label: label.into(),
            pools: (0..workers::shards()).map(pool).collect(),
            in_flight: AtomicUsize::new(0),
            record: Mutex::new(Record::new(now)),
            metrics: Arc::clone(metrics),
            warm_at: now + slow_start,
            slow_start,
        })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Its scheme, address and port.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What its scores for keys are made of, of its address: the same for everybody who calls it.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// The connections of this thread.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        // Workers that were started after the upstream was made share the pools that there are.
        &self.pools[workers::shard() % self.pools.len()]
    }

    /// Why the last connection that a thread tried could not be made, this thread first.
    pub(crate) fn connect_failure(&self) -> Option<Arc<ConnectError>> {
        self.pool().failure().or_else(|| self.pools.iter().find_map(|pool| pool.failure()))
    }

    /// Counts a call in.
    pub(crate) fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { endpoint: Arc::clone(self), since: Instant::now(), settled: false }
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What one more call would cost here, relative to other endpoints.
    pub(crate) fn cost(&self, now: Instant) -> f64 {
        self.record().latency.cost(self.in_flight(), now)
    }

    /// Whether it is ejected at this moment.
    pub fn is_ejected(&self, now: Instant) -> bool {
        self.record().is_ejected(now)
    }

    /// How much of its share of the calls it may have: from a tenth when it is new to all of it when it is warm, and in between
    /// as much as has passed of the time that it has for it (slow start).
    pub(crate) fn warmth(&self, now: Instant) -> f64 {
        let left = self.warm_at.saturating_duration_since(now);
        if left.is_zero() { 1.0 } else { (1.0 - left.div_duration_f64(self.slow_start)).max(COLDEST) }
    }

    /// A call came to its end with this code. Any but UNAVAILABLE shows that the endpoint works; but where it works so that
    /// most calls fail by no fault of their callers, it is an outlier.
    pub(crate) fn answered(&self, code: Option<Code>) {
        if code == Some(Code::Unavailable) {
            return self.failed();
        }
        let is_failure = matches!(code, None | Some(Code::Unknown | Code::Internal | Code::DataLoss));
        let is_readmitted = {
            let mut record = self.record();
            record.count(is_failure);
            record.succeed()
        };
        self.readmitted(is_readmitted);
    }

    /// It was asked and works. It is no longer ejected.
    pub(crate) fn succeeded(&self) {
        let is_readmitted = self.record().succeed();
        self.readmitted(is_readmitted);
    }

    fn readmitted(&self, is_readmitted: bool) {
        if is_readmitted {
            tracing::info!(upstream = self.metrics.upstream(), endpoint = self.label(), "endpoint readmitted");
        }
    }

    /// It answered UNAVAILABLE, or broke off. One may be chance; [`FAILURES`] in a row are not.
    pub(crate) fn failed(&self) {
        let failures = {
            let mut record = self.record();
            record.count(true);
            record.fail()
        };
        if failures >= FAILURES {
            self.eject(EjectionCause::ConsecutiveFailures);
        }
    }

    /// Takes it out of load balancing for a while, unless it is out already.
    pub(crate) fn eject(&self, cause: EjectionCause) {
        let time = self.record().eject(Instant::now());
        if let Some(time) = time {
            self.ejected(cause, time);
        }
    }

    /// Takes it out of load balancing because of the share of its calls that fail; no single answer brings it back.
    pub(crate) fn eject_outlier(&self, base: Duration, longest: Duration) {
        let time = self.record().eject_outlier(base, longest, Instant::now());
        self.ejected(EjectionCause::FailurePercentage, time);
    }

    fn ejected(&self, cause: EjectionCause, time: Duration) {
        self.metrics.ejected(cause);
        let (upstream, endpoint) = (self.metrics.upstream(), self.label());
        tracing::info!(upstream, endpoint, cause = cause.name(), ?time, "endpoint ejected");
    }

    /// Its calls since this was asked last.
    pub(crate) fn take_counts(&self) -> Counts {
        self.record().take_counts()
    }

    /// An interval in which calls were counted is over.
    pub(crate) fn end_interval(&self, now: Instant) {
        self.record().end_interval(now);
    }

    fn observe(&self, latency: Duration, now: Instant) {
        self.record().latency.observe(latency, now);
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        // Figures stay meaningful even if a thread died while it wrote them.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Endpoint").field("label", &self.label).finish_non_exhaustive()
    }
}

/// A call in flight at an endpoint, until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    endpoint: Arc<Endpoint>,
    since: Instant,
    settled: bool,
}

impl InFlight {
    /// Where it is.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Since when.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// The answer's head came; after how long.
    pub(crate) fn answered(&mut self) -> Duration {
        self.settled = true;
        self.observe()
    }

    fn observe(&self) -> Duration {
        let now = Instant::now();
        let latency = now.saturating_duration_since(self.since);
        self.endpoint.observe(latency, now);
        latency
    }

    /// Its time says nothing about calls.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
    }

    /// No answer came; after how long.
    pub(crate) fn failed(&mut self, error: TransportError) -> Duration {
        match error {
            TransportError::Connect(_) => {
                self.endpoint.record().count(true);
                self.endpoint.eject(EjectionCause::ConnectFailed);
            }
            TransportError::Refused | TransportError::Broken | TransportError::Reset(_) => self.endpoint.failed(),
            // The endpoint waited for the caller.
            TransportError::RequestBroken => {}
            // It says nothing bad of the endpoint but that it is at least as slow as this.
            TransportError::DeadlineExceeded | TransportError::AttemptTimedOut => return self.since.elapsed(),
        }
        // A failure is often quick; taken as latency it would draw more calls to a dead endpoint.
        self.settled = true;
        self.since.elapsed()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.settled {
            // Given up before an answer came: the endpoint is at least as slow as this.
            self.observe();
        }
    }
}
