//! Metrics of an upstream.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use accord_api::accord::policy::v1::Criticality;
use accord_metric::{Declared, kind};
use accord_runtime::criticality;
use arc_swap::ArcSwapOption;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Counter, Histogram};

use crate::adaptive_limit::AdaptiveLimit;
use crate::bulkhead::Bulkhead;
use crate::declared_metrics::{
    ATTEMPTS, DURATION, EJECTIONS, ENDPOINTS, IN_FLIGHT, IN_FLIGHT_LIMIT, NOT_OWNER, OVERLOADED, UNLOADED_LATENCY,
    WAITING, WAITING_LIMIT,
};

/// The label of attempts that tells those that were answered from those that failed in transport.
const RESPONSE_HEADERS: &str = "response_headers_received";

/// Why an endpoint was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EjectionCause {
    /// No connection could be made.
    ConnectFailed,
    /// Several calls in a row failed.
    ConsecutiveFailures,
    /// Too large a share of its calls failed.
    FailurePercentage,
    /// The active health check did not find it serving.
    HealthCheck,
}

impl EjectionCause {
    /// Its name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ConnectFailed => "connect_failed",
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::FailurePercentage => "failure_percentage",
            Self::HealthCheck => "health_check",
        }
    }
}

/// Why another endpoint than its owner takes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotOwner {
    /// Its key is hot, and has several.
    HotKey,
    /// The owner is ejected, or has just failed.
    Unavailable,
    /// The owner has far more in flight than its share.
    Overloaded,
}

impl NotOwner {
    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HotKey => "hot_key",
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
        }
    }
}

/// What is measured of one upstream.
#[derive(Debug)]
pub(crate) struct Metrics {
    observed: Arc<Observed>,
    attempts: Counter<u64>,
    duration: Histogram<f64>,
    refused: Counter<u64>,
    ejections: Counter<u64>,
    not_owner: Counter<u64>,
    name: Box<str>,
    upstream: [KeyValue; 1],
    /// By whether response headers came. Bound when the first attempt of the kind ends, so that none is shown before.
    attempted: [OnceLock<Attempted>; 2],
}

/// The series of attempts of one kind.
#[derive(Debug)]
struct Attempted {
    count: BoundCounter<u64>,
    duration: BoundHistogram<f64>,
}

impl Metrics {
    /// Figures under the upstream's name.
    pub(crate) fn new(upstream: &str, bulkhead: &Bulkhead) -> Self {
        let meter = accord_runtime::telemetry::meter();
        let name = KeyValue::new("upstream", upstream.to_owned());
        Self {
            observed: Observed::of(name.clone(), bulkhead.clone()),
            attempts: ATTEMPTS.counter(&meter),
            duration: DURATION.histogram(&meter),
            refused: OVERLOADED.counter(&meter),
            ejections: EJECTIONS.counter(&meter),
            not_owner: NOT_OWNER.counter(&meter),
            attempted: Default::default(),
            name: upstream.into(),
            upstream: [name],
        }
    }

    /// An attempt came to its end.
    pub(crate) fn attempted(&self, elapsed: Duration, has_response_headers: bool) {
        let [unanswered, answered] = &self.attempted;
        let attempted = if has_response_headers { answered } else { unanswered };
        let attempted = attempted.get_or_init(|| self.bind(has_response_headers));
        attempted.count.add(1);
        attempted.duration.record(elapsed.as_secs_f64());
    }

    fn bind(&self, has_response_headers: bool) -> Attempted {
        let [upstream] = self.upstream.clone();
        let labels = [upstream, KeyValue::new(RESPONSE_HEADERS, has_response_headers)];
        Attempted { count: self.attempts.bind(&labels), duration: self.duration.bind(&labels) }
    }

    /// So many endpoints serve.
    pub(crate) fn health_checked(&self, serving: usize) {
        self.observed.serving.store(serving as u64, Ordering::Relaxed);
    }

    /// The upstream's name.
    pub(crate) fn upstream(&self) -> &str {
        &self.name
    }

    /// An endpoint was ejected.
    pub(crate) fn ejected(&self, cause: EjectionCause) {
        let [upstream] = self.upstream.clone();
        self.ejections.add(1, &[upstream, KeyValue::new("cause", cause.name())]);
    }

    /// Another endpoint than the owner of its key takes a call.
    pub(crate) fn taken_by_other_than_owner(&self, why: NotOwner) {
        let [upstream] = self.upstream.clone();
        self.not_owner.add(1, &[upstream, KeyValue::new("cause", why.name())]);
    }

    /// A call was refused, by the adaptive limit or by `max_in_flight`.
    pub(crate) fn refused(&self, criticality: Criticality, is_adaptive: bool) {
        let [upstream] = self.upstream.clone();
        let limit = KeyValue::new("limit", if is_adaptive { "adaptive" } else { "max_in_flight" });
        self.refused.add(1, &[upstream, limit, KeyValue::new("criticality", criticality::name(criticality))]);
    }

    /// This is the adaptive limit from now on.
    pub(crate) fn observe_limit(&self, limit: Option<&Arc<AdaptiveLimit>>) {
        self.observed.adaptive_limit.store(limit.cloned());
    }
}

/// What is looked at when metrics are read.
#[derive(Debug)]
struct Observed {
    upstream: [KeyValue; 1],
    bulkhead: Bulkhead,
    /// Endpoints that serve, or [`UNKNOWN`].
    serving: AtomicU64,
    adaptive_limit: ArcSwapOption<AdaptiveLimit>,
}

/// No health check has said it yet.
const UNKNOWN: u64 = u64::MAX;

impl Observed {
    fn of(upstream: KeyValue, bulkhead: Bulkhead) -> Arc<Self> {
        let (serving, adaptive_limit) = (AtomicU64::new(UNKNOWN), ArcSwapOption::empty());
        let observed = Arc::new(Self { upstream: [upstream], bulkhead, serving, adaptive_limit });
        let limit = |it: &Self| it.adaptive_limit.load_full();
        observed.gauge(&IN_FLIGHT, |it| Some(it.bulkhead.in_flight()));
        observed.gauge(&IN_FLIGHT_LIMIT, |it| Some(it.bulkhead.most()));
        observed.gauge(&ENDPOINTS, |it| Some(it.serving.load(Ordering::Relaxed)).filter(|serving| *serving != UNKNOWN));
        observed.gauge(&WAITING_LIMIT, move |it| Some(limit(it)?.limit()));
        observed.gauge(&WAITING, move |it| Some(limit(it)?.waiting()));
        observed.show_unloaded_latency();
        observed
    }

    /// Shows a figure for as long as the upstream lives.
    fn gauge(
        self: &Arc<Self>,
        metric: &Declared<kind::Gauge>,
        figure: impl Fn(&Self) -> Option<u64> + Send + Sync + 'static,
    ) {
        let shown = Arc::downgrade(self);
        metric.observe(&accord_runtime::telemetry::meter(), move |gauge| {
            let Some(shown) = shown.upgrade() else { return };
            if let Some(figure) = figure(&shown) {
                gauge.observe(figure, &shown.upstream);
            }
        });
    }

    fn show_unloaded_latency(self: &Arc<Self>) {
        let shown = Arc::downgrade(self);
        UNLOADED_LATENCY.observe_f64(&accord_runtime::telemetry::meter(), move |gauge| {
            let Some(shown) = shown.upgrade() else { return };
            if let Some(latency) = shown.adaptive_limit.load().as_ref().and_then(|limit| limit.unloaded_latency()) {
                gauge.observe(latency.as_secs_f64(), &shown.upstream);
            }
        });
    }
}
