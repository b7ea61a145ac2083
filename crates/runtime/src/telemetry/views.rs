//! How instruments are aggregated, by what they measure.

use opentelemetry_sdk::metrics::{Aggregation, Instrument, InstrumentKind, Stream};

use crate::declared_metrics::CALL_DURATION;

/// Upper bounds of the buckets of every duration, in seconds: OpenTelemetry's advice for calls, and finer below, where caches and
/// stores answer. OpenTelemetry's own default is made for milliseconds.
pub(super) const SECONDS: [f64; 20] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
    10.0, 30.0,
];

/// Series of one instrument beyond which OpenTelemetry counts into one overflow series. It keeps places for so many and one more from the
/// start, each of a byte and some address space; these are what a table of hashes of 2^14 and 2^19 places takes before it grows.
const SERIES: usize = (1 << 14) / 8 * 7 - 1;

/// The same of the durations of calls, of which a method has one for each status code, listener and protocol: 170, if all were met. How
/// many methods there are is not known here: another contract, which may be larger, can come at any time.
const SERIES_OF_CALLS: usize = (1 << 19) / 8 * 7 - 1;

pub(super) fn view(instrument: &Instrument) -> Option<Stream> {
    let is_of_calls = instrument.name() == CALL_DURATION.metric().name;
    let stream = Stream::builder().with_cardinality_limit(if is_of_calls { SERIES_OF_CALLS } else { SERIES });
    let is_duration = instrument.kind() == InstrumentKind::Histogram && instrument.unit() == "s";
    let boundaries = || Aggregation::ExplicitBucketHistogram { boundaries: SECONDS.to_vec(), record_min_max: true };
    let stream = if is_duration { stream.with_aggregation(boundaries()) } else { stream };
    stream.build().ok()
}
