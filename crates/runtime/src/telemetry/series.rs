//! Metrics as plain values, for whoever shows them.

use prometheus::proto::{Metric, MetricFamily, MetricType};

/// One series of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The metric's name, as Prometheus has it.
    pub name: String,
    /// Names and values of its labels.
    pub labels: Vec<(String, String)>,
    /// Its value; of a histogram the sum.
    pub value: f64,
    /// Of a histogram, how many values it has.
    pub count: u64,
    /// Of a histogram, its finite buckets.
    pub buckets: Vec<Bucket>,
}

/// A bucket of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The largest value in it.
    pub upper_bound: f64,
    /// Values up to that.
    pub cumulative_count: u64,
}

pub(super) fn of(families: &[MetricFamily], is_wanted: impl Fn(&str) -> bool) -> Vec<Series> {
    let wanted = families.iter().filter(|family| is_wanted(family.name()));
    wanted.flat_map(|family| family.get_metric().iter().map(|metric| series(family, metric))).collect()
}

fn series(family: &MetricFamily, metric: &Metric) -> Series {
    let (value, count, buckets) = match family.get_field_type() {
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            let bucket = |bucket: &prometheus::proto::Bucket| Bucket {
                upper_bound: bucket.upper_bound(),
                cumulative_count: bucket.cumulative_count(),
            };
            let buckets = histogram.get_bucket().iter().map(bucket).filter(|bucket| bucket.upper_bound.is_finite());
            (histogram.get_sample_sum(), histogram.get_sample_count(), buckets.collect())
        }
        MetricType::COUNTER => (metric.get_counter().get_value(), 0, Vec::new()),
        _ => (metric.get_gauge().get_value(), 0, Vec::new()),
    };
    let labels = metric.get_label().iter().map(|label| (label.name().to_owned(), label.value().to_owned()));
    Series { name: family.name().to_owned(), labels: labels.collect(), value, count, buckets }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{HistogramOpts, HistogramVec, IntCounter, Registry};

    #[test]
    fn series_of_a_histogram_have_its_finite_buckets_and_those_not_wanted_are_left_out() {
        let registry = Registry::new();
        let histogram = HistogramVec::new(HistogramOpts::new("took", "h").buckets(vec![0.5, 1.0]), &["a"]).unwrap();
        let counter = IntCounter::new("other", "o").unwrap();
        registry.register(Box::new(histogram.clone())).unwrap();
        registry.register(Box::new(counter)).unwrap();
        histogram.with_label_values(&["b"]).observe(0.75);
        histogram.with_label_values(&["b"]).observe(2.0);
        let buckets =
            [(0.5, 0), (1.0, 1)].map(|(upper_bound, cumulative_count)| Bucket { upper_bound, cumulative_count });
        let labels = vec![("a".to_owned(), "b".to_owned())];
        let expected = Series { name: "took".to_owned(), labels, value: 2.75, count: 2, buckets: buckets.to_vec() };
        assert_eq!(of(&registry.gather(), |name| name == "took"), [expected]);
    }
}
