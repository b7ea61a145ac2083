//! Metrics of a near cache. Its reads are counted without the labels that an instrument would look up for each of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

use crate::declared_metrics::near;
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
        near::READS.observe(meter, move |observer| {
            for (outcome, count) in [("hit", &read.hits), ("miss", &read.misses)] {
                observer.observe(count.load(Ordering::Relaxed), &[KeyValue::new("outcome", outcome)]);
            }
        });
        gauge(&near::BYTES, meter, Vec::new(), move || Some(bytes()));
        gauge(&near::ENTRIES, meter, Vec::new(), move || Some(entries()));
        let refused = near::REFUSED.counter(meter);
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
