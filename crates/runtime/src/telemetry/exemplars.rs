//! Exemplars: for each bucket of a duration the newest sampled call in it, whose trace says why it took so long.
//!
//! A call that is not sampled costs nothing here; one that is writes into a place of its series, and leaves it where another
//! writes there just now.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::{
    KeyValue,
    trace::{SpanContext, SpanId, TraceId},
};

use super::views::SECONDS;

/// One for each bound, and that of what took longer.
const BUCKETS: usize = SECONDS.len() + 1;

/// The series that have any. Those of methods that are no more served are gone.
static ALL: Mutex<Vec<Weak<Exemplars>>> = Mutex::new(Vec::new());

/// Whether any is kept.
static ARE_KEPT: OnceLock<bool> = OnceLock::new();

/// A sampled call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exemplar {
    trace: TraceId,
    span: SpanId,
    seconds: f64,
    at: SystemTime,
}

impl Exemplar {
    /// As `OpenMetrics` has it after a sample.
    pub(super) fn text(&self) -> String {
        let Self { trace, span, seconds, at } = self;
        let at = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
        format!(" # {{trace_id=\"{trace}\",span_id=\"{span}\"}} {seconds:?} {at:.3}")
    }
}

/// The exemplars of one series.
#[derive(Debug)]
pub(crate) struct Exemplars {
    /// The metric and its labels, as Prometheus has them, in order.
    series: SeriesName,
    buckets: [Mutex<Option<Exemplar>>; BUCKETS],
}

/// A metric's name, and its labels in their order.
pub(super) type SeriesName = (String, Vec<(String, String)>);

/// Says whether exemplars are kept, once for the process.
pub(super) fn keep(are_kept: bool) {
    let _ = ARE_KEPT.set(are_kept);
}

impl Exemplars {
    /// Of the series with these labels of a duration that has this name in Prometheus.
    pub(crate) fn of(name: &str, labels: &[KeyValue]) -> Arc<Self> {
        let label = |label: &KeyValue| (label.key.as_str().replace('.', "_"), label.value.to_string());
        let mut labels: Vec<_> = labels.iter().map(label).collect();
        labels.sort_unstable();
        let series = (name.to_owned(), labels);
        let exemplars = Arc::new(Self { series, buckets: std::array::from_fn(|_| Mutex::default()) });
        let mut all = lock(&ALL);
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(&exemplars));
        exemplars
    }

    /// Keeps a sampled call that took so long.
    pub(crate) fn record(&self, context: &SpanContext, seconds: f64) {
        if ARE_KEPT.get() == Some(&false) {
            return;
        }
        let bucket = SECONDS.partition_point(|bound| *bound < seconds);
        // One is as good as the other.
        if let Some(mut place) = self.buckets.get(bucket).and_then(|place| place.try_lock().ok()) {
            let (trace, span) = (context.trace_id(), context.span_id());
            *place = Some(Exemplar { trace, span, seconds, at: SystemTime::now() });
        }
    }
}

/// Those that there are now, by their series and bucket.
pub(super) fn all() -> HashMap<SeriesName, Vec<Option<Exemplar>>> {
    let all: Vec<_> = lock(&ALL).iter().filter_map(Weak::upgrade).collect();
    let buckets = |it: &Exemplars| it.buckets.iter().map(|place| *lock(place)).collect();
    all.iter().map(|it| (it.series.clone(), buckets(it))).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{TraceFlags, TraceState};

    use super::*;

    fn sampled(number: u128) -> SpanContext {
        let ids = (TraceId::from(number), SpanId::from(7));
        SpanContext::new(ids.0, ids.1, TraceFlags::SAMPLED, false, TraceState::NONE)
    }

    #[test]
    fn newest_call_of_each_bucket_is_its_exemplar() {
        let series = Exemplars::of("took_seconds", &[KeyValue::new("rpc.method", "a.B/C"), KeyValue::new("a", "b")]);
        for (number, seconds) in [(1, 0.0002), (2, 0.0002), (3, 0.25), (4, 99.0)] {
            series.record(&sampled(number), seconds);
        }
        let labels = [("a", "b"), ("rpc_method", "a.B/C")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let found = all().remove(&("took_seconds".to_owned(), labels.to_vec())).unwrap();
        let traces: Vec<_> = found.iter().map(|it| it.map(|it| it.trace)).collect();
        let at = |bound: f64| SECONDS.iter().position(|known| (known - bound).abs() < f64::EPSILON).unwrap();
        let expected = [(at(0.00025), 2), (at(0.25), 3), (SECONDS.len(), 4)];
        assert_eq!(expected.map(|(bucket, _)| traces[bucket]), expected.map(|(_, number)| Some(TraceId::from(number))));
        assert_eq!(traces.iter().flatten().count(), expected.len());
    }

    #[test]
    fn series_that_is_gone_has_none() {
        let labels = [KeyValue::new("gone", "yes")];
        drop(Exemplars::of("gone_seconds", &labels));
        assert!(all().keys().all(|(name, _)| name != "gone_seconds"));
    }

    #[test]
    fn exemplar_is_written_as_openmetrics_has_it() {
        let at = UNIX_EPOCH + Duration::from_millis(1_500);
        let exemplar = Exemplar { trace: TraceId::from(10), span: SpanId::from(7), seconds: 0.25, at };
        let ids = "trace_id=\"0000000000000000000000000000000a\",span_id=\"0000000000000007\"";
        assert_eq!(exemplar.text(), format!(" # {{{ids}}} 0.25 1.500"));
    }
}
