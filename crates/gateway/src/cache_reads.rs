//! Cached reads by where their answers came from, as the gateway sees them.

use accord_runtime::call_record::CallRecord;
use opentelemetry::{
    KeyValue,
    metrics::{BoundCounter, Counter},
};
use std::sync::OnceLock;

use crate::declared_metrics::CACHE_READS;

/// Where answers of cached methods may come from.
const OUTCOMES: [&str; 7] = ["near", "hit", "uri-miss", "stale", "request", "bypass", "not-stored"];

/// Counts cached reads by where their answers came from, those from the gateway's own memory included.
pub(crate) struct CacheReads {
    reads: Counter<u64>,
    /// Bound when the first one comes, so that none is shown before.
    bound: [OnceLock<BoundCounter<u64>>; OUTCOMES.len()],
}

impl CacheReads {
    /// Counts from zero.
    pub(crate) fn new() -> Self {
        let reads = CACHE_READS.counter(&accord_runtime::telemetry::meter());
        Self { reads, bound: Default::default() }
    }

    /// Counts a call that is over, if it was one.
    pub(crate) fn count(&self, record: &CallRecord) {
        let Some(outcome) = record.cache_outcome() else { return };
        let Some(place) = OUTCOMES.iter().position(|known| *known == outcome) else { return };
        self.bound[place].get_or_init(|| self.reads.bind(&[KeyValue::new("outcome", outcome)])).add(1);
    }
}
