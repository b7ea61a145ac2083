//! Adaptive concurrency limit of an upstream: while answers take longer because calls queue there, fewer may wait for one.
//!
//! What is refused first is what the contract calls least critical, and of that whoever has most calls waiting. Counted are unary
//! calls until the head of their answer, and how long that takes is all that is measured: the time of a stream is its caller's.
//! While nothing queues, a call costs two counts and one short critical section.
//!
//! Sources: what an upstream works on as the rate of its answers by their time without a queue, and the regular look at that time
//! with few calls, are those of BBR (Cardwell et al., "BBR: Congestion-Based Congestion Control", 2016); the headroom of √limit is
//! that of Gradient2 in Netflix's concurrency-limits, the measure in windows that of Envoy's adaptive concurrency. What differs,
//! since a limit must not harm an upstream that is only slow, stands in [`controller`].

mod baseline;
mod controller;
mod growth;
mod trial;
mod window;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use accord_api::accord::policy::v1::Criticality;
use accord_runtime::criticality;
use accord_runtime::fair_share::{FairShare, Held, Holder, Shed};
use accord_runtime::prehashed::BuildPrehashed;
use tokio::time::Instant;

use crate::config::UpstreamConfig;
use controller::{Bounds, Controller, Ended};

/// A method whose answers are timed, by a hash of its name, so that nothing is allocated or compared for a call. Two that have
/// the same one are taken for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedMethod(u64);

impl TimedMethod {
    /// The method of this name.
    pub fn new(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl Hash for TimedMethod {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// Something of each method.
type ByMethod<T> = HashMap<TimedMethod, T, BuildPrehashed>;

/// How many calls may wait for answers of an upstream.
#[derive(Debug)]
pub(crate) struct AdaptiveLimit {
    most: AtomicU64,
    limit: AtomicU64,
    waiting: AtomicU64,
    /// Who waits, of those that came while the limit was below the most.
    shares: FairShare,
    controller: Mutex<Controller>,
}

impl AdaptiveLimit {
    /// As configured; none where it is off.
    pub(crate) fn new(config: &UpstreamConfig) -> Option<Arc<Self>> {
        let most = config.max_in_flight as u64;
        let bounds = Bounds::of(config, config.max_in_flight);
        config.adaptive.enabled.then(|| {
            Arc::new(Self {
                most: AtomicU64::new(most),
                limit: AtomicU64::new(most),
                waiting: AtomicU64::new(0),
                shares: FairShare::new(most, config.max_share),
                controller: Mutex::new(Controller::new(bounds, Instant::now())),
            })
        })
    }

    /// Goes on within other bounds, with all that was learned.
    pub(crate) fn resize(&self, config: &UpstreamConfig, max_in_flight: usize) {
        let most = max_in_flight as u64;
        self.most.store(most, Ordering::Relaxed);
        self.shares.resize(most, config.max_share);
        self.controlled(|controller| controller.resize(Bounds::of(config, max_in_flight)));
    }

    /// How many may wait now.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// How many do.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The time to an answer without a queue, over the methods that were called last; nothing where nobody knows yet.
    pub(crate) fn unloaded_latency(&self) -> Option<Duration> {
        self.controlled(|controller| controller.unloaded_latency())
    }

    /// Counts a call among those that wait.
    pub(crate) fn enter(&self, criticality: Criticality, holder: Option<Holder>) -> Result<Waiting<'_>, Shed> {
        let share = match self.kept(criticality)? {
            Some(kept) => Some(self.shares.hold(holder, 1, kept).inspect_err(|_| self.refused())?),
            None => None,
        };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Ok(Waiting { of: self, _share: share })
    }

    /// Whether there would be room for one more, which is not counted.
    pub(crate) fn look(&self, criticality: Criticality) -> Result<(), Shed> {
        self.kept(criticality).map(|_| ())
    }

    /// What of the most is not for a call of this criticality; nothing where the limit is the most, which is counted elsewhere.
    fn kept(&self, criticality: Criticality) -> Result<Option<u64>, Shed> {
        let most = self.most.load(Ordering::Relaxed);
        if self.limit() >= most {
            return Ok(None);
        }
        let now = Instant::now();
        let limit = self.controlled(|controller| controller.relax(now));
        let kept = most.saturating_sub(limit) + criticality::kept(criticality, limit);
        if self.waiting() + kept < most {
            return Ok(Some(kept));
        }
        self.refused();
        Err(Shed::Full)
    }

    fn refused(&self) {
        let (now, waiting) = (Instant::now(), self.waiting());
        self.controlled(|controller| controller.refused(waiting, now));
    }

    /// Begins to measure the time to an answer. Only of a request that is sent whole it says something to be given up.
    pub(crate) fn time(&self, method: TimedMethod, since: Instant, is_sent: bool) -> Timing<'_> {
        Timing { of: self, method, since, before: self.waiting(), is_over: !is_sent }
    }

    fn controlled<T>(&self, change: impl FnOnce(&mut Controller) -> T) -> T {
        // Figures stay meaningful even if a thread died while it wrote them.
        let mut controller = self.controller.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut controller);
        self.limit.store(controller.limit(), Ordering::Relaxed);
        result
    }
}

/// A call that waits for its answer, until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    of: &'a AdaptiveLimit,
    _share: Option<Held>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.of.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The time to an answer, as it passes. One that is given up took at least as long.
#[derive(Debug)]
pub(crate) struct Timing<'a> {
    of: &'a AdaptiveLimit,
    method: TimedMethod,
    since: Instant,
    /// How many waited as it began.
    before: u64,
    /// Whether nothing is to be said of it any more.
    is_over: bool,
}

impl Timing<'_> {
    /// The answer's head came, after so long.
    pub(crate) fn answered(mut self, latency: Duration) {
        self.is_over = true;
        let (call, at) = (self.ended(latency), self.since + latency);
        self.of.controlled(|controller| controller.answered(&call, at));
    }

    /// No answer came in time.
    pub(crate) fn given_up(mut self) {
        self.is_over = false;
    }

    fn ended(&self, latency: Duration) -> Ended {
        let Self { of, method, since, before, .. } = *self;
        Ended { method, since, latency, before, waiting: of.waiting() }
    }

    /// What came says nothing of how long answers take.
    pub(crate) fn forget(mut self) {
        self.is_over = true;
    }
}

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let now = Instant::now();
            let call = self.ended(now.saturating_duration_since(self.since));
            self.of.controlled(|controller| controller.given_up(&call, now));
        }
    }
}

/// A time in powers of two of a second.
fn octaves(time: Duration) -> f64 {
    time.as_secs_f64().max(1e-6).log2()
}

#[cfg(test)]
mod tests;
