//! Metrics of an upstream.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};

/// What is measured of one upstream.
#[derive(Debug)]
pub(crate) struct Metrics {
    attempts: Counter<u64>,
    duration: Histogram<f64>,
    alive: Gauge<u64>,
    refused: Counter<u64>,
    upstream: [KeyValue; 1],
    reached: [KeyValue; 2],
    unreached: [KeyValue; 2],
}

impl Metrics {
    /// Figures under the upstream's name.
    pub(crate) fn new(upstream: &str, in_flight: &Arc<AtomicUsize>) -> Self {
        let meter = accord_runtime::telemetry::meter();
        let name = KeyValue::new("upstream", upstream.to_owned());
        observe_in_flight(&meter, &name, in_flight);
        Self {
            attempts: meter
                .u64_counter("accord.upstream.attempts")
                .with_description("Attempts sent to an upstream, by whether an answer's head came")
                .build(),
            duration: meter
                .f64_histogram("accord.upstream.duration")
                .with_unit("s")
                .with_description("Time from sending an attempt to its answer's head")
                .build(),
            alive: meter
                .u64_gauge("accord.upstream.endpoints")
                .with_description("Endpoints of an upstream that answered when they were last asked")
                .build(),
            refused: meter
                .u64_counter("accord.upstream.overloaded")
                .with_description("Calls refused because as many were in flight at the upstream as may be")
                .build(),
            reached: [name.clone(), KeyValue::new("reached", true)],
            unreached: [name.clone(), KeyValue::new("reached", false)],
            upstream: [name],
        }
    }

    /// An attempt came to its end.
    pub(crate) fn attempted(&self, elapsed: Duration, is_reached: bool) {
        let attributes = if is_reached { &self.reached } else { &self.unreached };
        self.attempts.add(1, attributes);
        self.duration.record(elapsed.as_secs_f64(), attributes);
    }

    /// So many endpoints live.
    pub(crate) fn probed(&self, alive: usize) {
        self.alive.record(alive as u64, &self.upstream);
    }

    /// A call was refused.
    pub(crate) fn refused(&self) {
        self.refused.add(1, &self.upstream);
    }
}

fn observe_in_flight(meter: &Meter, upstream: &KeyValue, in_flight: &Arc<AtomicUsize>) {
    // Shown for as long as the upstream lives.
    let (in_flight, upstream) = (Arc::downgrade(in_flight), upstream.clone());
    let _ = meter
        .u64_observable_gauge("accord.upstream.in_flight")
        .with_description("Calls in flight at an upstream")
        .with_callback(move |gauge| {
            if let Some(count) = in_flight.upgrade() {
                gauge.observe(count.load(Ordering::Relaxed) as u64, std::slice::from_ref(&upstream));
            }
        })
        .build();
}
