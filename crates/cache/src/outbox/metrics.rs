//! Figures of an outbox.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use accord_runtime::telemetry;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};

/// The instruments of one outbox.
#[derive(Debug)]
pub(super) struct Metrics {
    label: KeyValue,
    flushes: Counter<u64>,
    delays: Histogram<f64>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// When everything had been read that was committed by then.
    read: Instant,
    /// Numbers between the cursor and the head.
    rows: u64,
}

impl Metrics {
    /// Outboxes are configured, so their names are few.
    pub(super) fn new(outbox: &str) -> Self {
        let (meter, label) = (telemetry::meter(), KeyValue::new("outbox", outbox.to_owned()));
        let state = Arc::new(Mutex::new(State { read: Instant::now(), rows: 0 }));
        let (of_lag, of_rows, labels) = (Arc::clone(&state), Arc::clone(&state), [label.clone()]);
        let labels_of_rows = labels.clone();
        // The meter keeps the callbacks; the handles have nothing more to do.
        let lag = meter.f64_observable_gauge("accord.cache.outbox.lag").with_unit("s");
        let lag = lag.with_description("Time since everything that was committed had been read, by outbox");
        let _ =
            lag.with_callback(move |gauge| gauge.observe(lock(&of_lag).read.elapsed().as_secs_f64(), &labels)).build();
        let rows = meter.u64_observable_gauge("accord.cache.outbox.rows");
        let rows = rows.with_description("Rows that are to be read, by outbox");
        let _ = rows.with_callback(move |gauge| gauge.observe(lock(&of_rows).rows, &labels_of_rows)).build();
        let flushes = meter.u64_counter("accord.cache.outbox.flushes");
        let flushes = flushes.with_description("Times that everything was invalidated for an outbox, by cause").build();
        let delays = meter.f64_histogram("accord.cache.outbox.delay").with_unit("s");
        let delays = delays.with_description("Time from the write of a row to its invalidation, by outbox").build();
        Self { label, flushes, delays, state }
    }

    /// Everything that was committed this time ago has been read.
    pub(super) fn read(&self, ago: Duration) {
        let now = Instant::now();
        lock(&self.state).read = now.checked_sub(ago).unwrap_or(now);
    }

    pub(super) fn rows(&self, rows: i64) {
        lock(&self.state).rows = u64::try_from(rows).unwrap_or_default();
    }

    pub(super) fn invalidated(&self, age: f64) {
        self.delays.record(age.max(0.0), std::slice::from_ref(&self.label));
    }

    pub(super) fn flushed(&self, cause: &'static str) {
        self.flushes.add(1, &[self.label.clone(), KeyValue::new("cause", cause)]);
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
