//! Metrics of a near cache. Its reads are counted without the labels that an instrument would look up for each of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Counter, Meter};

use crate::metrics::gauge;

/// The instruments of a near cache.
#[derive(Debug)]
pub(crate) struct NearMetrics {
    reads: Arc<Reads>,
    refused: Counter<u64>,
}

#[derive(Debug, Default)]
struct Reads {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl NearMetrics {
    pub(crate) fn new(
        meter: &Meter,
        bytes: impl Fn() -> u64 + Send + Sync + 'static,
        entries: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let reads = Arc::<Reads>::default();
        let read = Arc::clone(&reads);
        let observe = move |observer: &dyn AsyncInstrument<u64>| {
            for (outcome, count) in [("hit", &read.hits), ("miss", &read.misses)] {
                observer.observe(count.load(Ordering::Relaxed), &[KeyValue::new("outcome", outcome)]);
            }
        };
        // The meter keeps the callback; the handle has nothing more to do.
        let _ = meter
            .u64_observable_counter("accord.gateway.near.reads")
            .with_description("Reads of the near cache by outcome")
            .with_callback(observe)
            .build();
        let (of_bytes, of_entries) = ("Bytes of near entries", "Number of near entries");
        gauge(meter, "accord.gateway.near.bytes", of_bytes, Vec::new(), move || Some(bytes()));
        gauge(meter, "accord.gateway.near.entries", of_entries, Vec::new(), move || Some(entries()));
        let refused = meter
            .u64_counter("accord.gateway.near.refused")
            .with_description("Leased answers that were not kept, by reason")
            .build();
        Self { reads, refused }
    }

    pub(crate) fn read(&self, is_hit: bool) {
        let Reads { hits, misses } = &*self.reads;
        if is_hit { hits } else { misses }.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.add(1, &[KeyValue::new("reason", reason)]);
    }
}
