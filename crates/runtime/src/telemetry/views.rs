//! How instruments are aggregated, by what they measure.

use std::sync::atomic::{AtomicUsize, Ordering};

use opentelemetry_sdk::metrics::{Aggregation, Instrument, InstrumentKind, Stream};

/// Upper bounds of the buckets of every duration, in seconds: OpenTelemetry's advice for calls, and finer below, where caches and
/// stores answer. OpenTelemetry's own default is made for milliseconds.
pub(super) const SECONDS: [f64; 20] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
    10.0, 30.0,
];

/// Series of one instrument beyond which OpenTelemetry counts into one overflow series.
const FEWEST_SERIES: usize = 2_000;
const MOST_SERIES: usize = 1_000_000;

/// Series that one method can have: a status code each, by two listeners and two protocols.
const SERIES_OF_A_METHOD: usize = 17 * 2 * 2;

/// How many methods are served.
static METHODS: AtomicUsize = AtomicUsize::new(0);

/// Makes room for the series of so many methods, in the instruments that are made from now on.
pub fn expect_methods(count: usize) {
    METHODS.store(count, Ordering::Relaxed);
}

pub(super) fn view(instrument: &Instrument) -> Option<Stream> {
    // With the one under which calls of unknown methods are counted.
    let methods = METHODS.load(Ordering::Relaxed).saturating_add(1);
    let series = methods.saturating_mul(SERIES_OF_A_METHOD).clamp(FEWEST_SERIES, MOST_SERIES);
    let stream = Stream::builder().with_cardinality_limit(series);
    let is_duration = instrument.kind() == InstrumentKind::Histogram && instrument.unit() == "s";
    let boundaries = || Aggregation::ExplicitBucketHistogram { boundaries: SECONDS.to_vec(), record_min_max: true };
    let stream = if is_duration { stream.with_aggregation(boundaries()) } else { stream };
    stream.build().ok()
}
