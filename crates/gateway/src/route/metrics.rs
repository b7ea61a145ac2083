//! What is measured of an upstream.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram};

/// What is measured of one upstream.
#[derive(Debug)]
pub struct Metrics {
    attempts: Counter<u64>,
    duration: Histogram<f64>,
    alive: Gauge<u64>,
    upstream: [KeyValue; 1],
    reached: [KeyValue; 2],
    unreached: [KeyValue; 2],
}

impl Metrics {
    /// Figures under the upstream's name.
    pub fn new(upstream: &str) -> Self {
        let meter = accord_runtime::telemetry::meter();
        let name = KeyValue::new("upstream", upstream.to_owned());
        Self {
            attempts: meter
                .u64_counter("accord.gateway.upstream.attempts")
                .with_description("Attempts sent to an upstream, by whether an answer's head came")
                .build(),
            duration: meter
                .f64_histogram("accord.gateway.upstream.duration")
                .with_unit("s")
                .with_description("Time from sending an attempt to its answer's head")
                .build(),
            alive: meter
                .u64_gauge("accord.gateway.upstream.endpoints")
                .with_description("Endpoints of an upstream that answered when they were last asked")
                .build(),
            reached: [name.clone(), KeyValue::new("reached", true)],
            unreached: [name.clone(), KeyValue::new("reached", false)],
            upstream: [name],
        }
    }

    /// An attempt came to its end.
    pub fn attempted(&self, elapsed: Duration, reached: bool) {
        let attributes = if reached { &self.reached } else { &self.unreached };
        self.attempts.add(1, attributes);
        self.duration.record(elapsed.as_secs_f64(), attributes);
    }

    /// So many endpoints live.
    pub fn probed(&self, alive: usize) {
        self.alive.record(alive as u64, &self.upstream);
    }
}
