//! One address of an upstream: its connections, its load, and whether it is set aside.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use accord_runtime::client;
use tokio::time::Instant;
use tonic::transport::Channel;
use tower::{Service, ServiceExt};

use super::load::PeakEwma;
use super::{RouteError, Unreachable};
use crate::config::UpstreamConfig;

/// UNAVAILABLE answers in a row after which an endpoint is set aside.
const PATIENCE: u32 = 5;
/// How long it is set aside the first time; twice as long each further time, up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(500);
/// The longest time an endpoint is set aside before it is tried again.
const LONGEST: Duration = Duration::from_secs(10);

/// One address of an upstream.
#[derive(Debug)]
pub struct Endpoint {
    url: Box<str>,
    channels: Box<[Channel]>,
    next: AtomicUsize,
    in_flight: AtomicUsize,
    record: Mutex<Record>,
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
    /// An endpoint whose connections are made when they are first used.
    pub fn lazy(url: &str, config: &UpstreamConfig) -> Result<Self, RouteError> {
        let refused = |error| RouteError::Endpoint {
            upstream: config.name.clone(),
            url: url.to_owned(),
            source: Box::new(error),
        };
        let channels = (0..config.connections.max(1))
            .map(|_| client::channel(&config.client(url)))
            .collect::<Result<_, _>>()
            .map_err(refused)?;
        Ok(Self::over(url, channels))
    }

    fn over(url: &str, channels: Box<[Channel]>) -> Self {
        let record = Record { latency: PeakEwma::new(Instant::now()), failures: 0, ejections: 0, until: None };
        Self {
            url: url.into(),
            channels,
            next: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            record: Mutex::new(record),
        }
    }

    /// Its URL, as configured.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// One of its connections, in turn: a single HTTP/2 connection contends under many calls.
    pub fn channel(&self) -> Channel {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.channels[turn % self.channels.len()].clone()
    }

    /// Counts a call in.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { endpoint: Arc::clone(self), since: Instant::now(), settled: false }
    }

    /// Sends a request over one of the connections.
    pub async fn send(
        &self,
        request: http::Request<tonic::body::Body>,
    ) -> Result<http::Response<tonic::body::Body>, Unreachable> {
        let mut channel = self.channel();
        let ready = channel.ready().await.map_err(|error| Unreachable::from_transport(&error))?;
        ready.call(request).await.map_err(|error| Unreachable::from_transport(&error))
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What one more call would cost here, relative to other endpoints.
    pub fn cost(&self, now: Instant) -> f64 {
        self.record().latency.cost(self.in_flight(), now)
    }

    /// Whether it is set aside at this moment.
    pub fn is_ejected(&self, now: Instant) -> bool {
        self.record().until.is_some_and(|until| now < until)
    }

    /// An answer that shows the endpoint works. It is no longer set aside.
    pub fn succeeded(&self) {
        let mut record = self.record();
        record.failures = 0;
        record.ejections = 0;
        record.until = None;
    }

    /// It answered UNAVAILABLE. One may be chance; [`PATIENCE`] in a row are not.
    pub fn faltered(&self) {
        let mut record = self.record();
        record.failures += 1;
        if record.failures >= PATIENCE {
            record.eject(Instant::now());
        }
    }

    /// It can't be reached.
    pub fn eject(&self) {
        self.record().eject(Instant::now());
    }

    fn observe(&self, latency: Duration) {
        self.record().latency.observe(latency, Instant::now());
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        // Figures stay meaningful even if a thread died while it wrote them.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn eject(&mut self, now: Instant) {
        // Calls that were under way together fail together: they count as one.
        if self.until.is_some_and(|until| now < until) {
            return;
        }
        let time = SHORTEST.saturating_mul(1 << self.ejections.min(10)).min(LONGEST);
        // Jitter of ±20 %, so that many gateways don't come back at the same moment.
        self.until = Some(now + time.mul_f64(rand::random_range(0.8..1.2)));
        self.ejections += 1;
        self.failures = 0;
    }
}

/// A call in flight at an endpoint, until it is dropped.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
    since: Instant,
    settled: bool,
}

impl InFlight {
    /// Where it is.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The answer's head came.
    pub fn answered(&mut self) {
        self.settled = true;
        self.endpoint.observe(self.since.elapsed());
    }

    /// No answer came.
    pub fn failed(&mut self, error: Unreachable) {
        // A failure is often quick; taken as latency it would draw more calls to a dead endpoint.
        self.settled = true;
        match error {
            Unreachable::Connect => self.endpoint.eject(),
            Unreachable::Refused | Unreachable::Broken => self.endpoint.faltered(),
            Unreachable::Late => {}
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.settled {
            // Given up before an answer came: the endpoint is at least as slow as this.
            self.endpoint.observe(self.since.elapsed());
        }
    }
}
