//! One endpoint of an upstream: its connections, its load, and its ejection (outlier detection).

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use accord_runtime::backoff;
use accord_runtime::reload::Reloading;
use accord_runtime::workers;
use rustls::ClientConfig;
use tokio::time::Instant;

use crate::connect_error::ConnectError;
use crate::connect_warnings::ConnectWarnings;
use crate::connection::Settings;
use crate::discovery::Address;
use crate::load::PeakEwma;
use crate::metrics::{EjectionCause, Metrics};
use crate::pool::{Pool, Size};
use crate::transport_error::TransportError;

/// UNAVAILABLE answers in a row after which an endpoint is ejected.
const FAILURES: u32 = 5;
/// How long it is ejected the first time; twice as long each further time, up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(500);
/// The longest time an endpoint is ejected before it is tried again.
const LONGEST: Duration = Duration::from_secs(10);
/// ±20%, so that many callers don't come back at the same moment.
const JITTER: f64 = 0.2;

/// One endpoint of an upstream.
pub struct Endpoint {
    address: Address,
    label: Box<str>,
    pools: Box<[Arc<Pool>]>,
    in_flight: AtomicUsize,
    record: Mutex<Record>,
    metrics: Arc<Metrics>,
}

/// What is remembered of an endpoint's answers.
#[derive(Debug)]
struct Record {
    latency: PeakEwma,
    failures: u32,
    ejections: u32,
    until: Option<Instant>,
}

impl Endpoint {
    /// An endpoint whose connections are made when they are first used: a pool of them for each worker, and one for all other
    /// threads, so that no call is handed over between threads.
    pub(crate) fn new(
        address: &Address,
        trust: Option<&Arc<Reloading<ClientConfig>>>,
        settings: Settings,
        size: Size,
        metrics: &Arc<Metrics>,
    ) -> Arc<Self> {
        let trust = trust.filter(|_| address.url.server_name.is_some());
        let label = address.to_string();
        let warnings = Arc::new(ConnectWarnings::new(metrics.upstream(), &label));
        let pool = |_| Pool::new(address.clone(), trust.cloned(), settings, size, Arc::clone(&warnings));
        let record = Record { latency: PeakEwma::new(Instant::now()), failures: 0, ejections: 0, until: None };
        Arc::new(Self {
            address: address.clone(),
            label: label.into(),
            pools: (0..workers::shards()).map(pool).collect(),
            in_flight: AtomicUsize::new(0),
            record: Mutex::new(record),
            metrics: Arc::clone(metrics),
        })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Its scheme, address and port.
    pub(crate) fn label(&self) -> &str {
        &self.label
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
    pub(crate) fn is_ejected(&self, now: Instant) -> bool {
        self.record().until.is_some_and(|until| now < until)
    }

    /// An answer that shows the endpoint works. It is no longer ejected.
    pub(crate) fn succeeded(&self) {
        if self.record().succeed() {
            tracing::info!(upstream = self.metrics.upstream(), endpoint = self.label(), "endpoint readmitted");
        }
    }

    /// It answered UNAVAILABLE. One may be chance; [`FAILURES`] in a row are not.
    pub(crate) fn failed(&self) {
        let failures = {
            let mut record = self.record();
            record.failures += 1;
            record.failures
        };
        if failures >= FAILURES {
            self.eject(EjectionCause::ConsecutiveFailures);
        }
    }

    /// Takes it out of load balancing for a while, unless it is out already.
    pub(crate) fn eject(&self, cause: EjectionCause) {
        let Some(time) = self.record().eject(Instant::now()) else { return };
        self.metrics.ejected(cause);
        let (upstream, endpoint) = (self.metrics.upstream(), self.label());
        tracing::info!(upstream, endpoint, cause = cause.name(), ?time, "endpoint ejected");
    }

    fn observe(&self, latency: Duration, now: Instant) {
        self.record().latency.observe(latency, now);
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        // Figures stay meaningful even if a thread died while it wrote them.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    /// Whether that ends an ejection.
    fn succeed(&mut self) -> bool {
        self.failures = 0;
        self.ejections = 0;
        self.until.take().is_some()
    }

    /// For how long it is ejected from now on; none where it was ejected already.
    fn eject(&mut self, now: Instant) -> Option<Duration> {
        // Calls that were under way together fail together: they count as one.
        if self.until.is_some_and(|until| now < until) {
            return None;
        }
        let time = backoff::jittered(backoff::exponential(SHORTEST, LONGEST, self.ejections), JITTER);
        self.until = Some(now + time);
        self.ejections += 1;
        self.failures = 0;
        Some(time)
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
            TransportError::Connect(_) => self.endpoint.eject(EjectionCause::ConnectFailed),
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
