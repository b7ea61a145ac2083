//! Figures of an outbox.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use accord_runtime::telemetry;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};

use crate::declared_metrics::{OUTBOX_DELAY, OUTBOX_FLUSHES, OUTBOX_LAG, OUTBOX_ROWS};

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
        OUTBOX_LAG.observe_f64(&meter, move |gauge| {
            gauge.observe(lock(&of_lag).read.elapsed().as_secs_f64(), &labels);
        });
        OUTBOX_ROWS.observe(&meter, move |gauge| gauge.observe(lock(&of_rows).rows, &labels_of_rows));
        let (flushes, delays) = (OUTBOX_FLUSHES.counter(&meter), OUTBOX_DELAY.histogram(&meter));
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
