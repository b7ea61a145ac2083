//! Metrics as `OpenMetrics` text (<https://prometheus.io/docs/specs/om/open_metrics_spec/>), which has exemplars.

use std::{
    collections::HashMap,
    fmt::{self, Write},
};

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use super::exemplars::{Exemplar, SeriesName};

/// What a scraper asks for, and gets.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a scraper wants it: where it says that it takes it, at least as gladly as plain text.
pub(super) fn is_wanted(accept: &str) -> bool {
    let weight = |of: &str| {
        let ranges = accept.split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let quality = |part: &str| part.strip_prefix("q=").and_then(|text| text.parse::<f32>().ok());
            parts.next().filter(|name| name.eq_ignore_ascii_case(of)).map(|_| parts.find_map(quality).unwrap_or(1.0))
        });
        ranges.fold(0.0, f32::max)
    };
    let wanted = weight("application/openmetrics-text");
    wanted > 0.0 && wanted >= weight("text/plain")
}

/// All of it.
pub(super) fn text(families: &[MetricFamily], exemplars: &HashMap<SeriesName, Vec<Option<Exemplar>>>) -> String {
    let mut text = String::new();
    for family in families {
        // Nothing fails to be written into a string.
        let _ = write_family(&mut text, family, exemplars);
    }
    text + "# EOF\n"
}

fn write_family(
    text: &mut String,
    family: &MetricFamily,
    exemplars: &HashMap<SeriesName, Vec<Option<Exemplar>>>,
) -> fmt::Result {
    let (kind, suffix) = match family.get_field_type() {
        MetricType::COUNTER => ("counter", "_total"),
        MetricType::HISTOGRAM => ("histogram", ""),
        // What describes the whole target.
        _ if family.name() == "target_info" => ("info", "_info"),
        _ => ("gauge", ""),
    };
    // Suffixes belong to samples, not to the family.
    let name = family.name().strip_suffix(suffix).unwrap_or(family.name());
    writeln!(text, "# TYPE {name} {kind}")?;
    if !family.help().is_empty() {
        writeln!(text, "# HELP {name} {}", Escaped(family.help()))?;
    }
    for metric in family.get_metric() {
        let labels = metric.get_label();
        match family.get_field_type() {
            MetricType::HISTOGRAM => {
                write_histogram(text, name, metric, exemplars.get(&series(name, labels)).map(Vec::as_slice))?;
            }
            MetricType::COUNTER => sample(text, (name, suffix), labels, None, metric.get_counter().get_value())?,
            _ => sample(text, (name, suffix), labels, None, metric.get_gauge().get_value())?,
        }
    }
    Ok(())
}

fn write_histogram(
    text: &mut String,
    name: &str,
    metric: &Metric,
    exemplars: Option<&[Option<Exemplar>]>,
) -> fmt::Result {
    let (histogram, labels) = (metric.get_histogram(), metric.get_label());
    let count = histogram.get_sample_count();
    let finite = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
    let finite = finite.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    for (place, (bound, cumulative)) in finite.chain([(f64::INFINITY, count)]).enumerate() {
        write!(text, "{name}_bucket{} {cumulative}", Labels(labels, Some(bound)))?;
        let exemplar = exemplars.and_then(|found| found.get(place).copied().flatten());
        text.push_str(&exemplar.map(|exemplar| exemplar.text()).unwrap_or_default());
        text.push('\n');
    }
    sample(text, (name, "_sum"), labels, None, histogram.get_sample_sum())?;
    writeln!(text, "{name}_count{} {count}", Labels(labels, None))
}

fn sample(
    text: &mut String,
    (name, suffix): (&str, &str),
    labels: &[LabelPair],
    bound: Option<f64>,
    value: f64,
) -> fmt::Result {
    writeln!(text, "{name}{suffix}{} {}", Labels(labels, bound), Number(value))
}

/// A series as exemplars are looked up by it.
fn series(name: &str, labels: &[LabelPair]) -> SeriesName {
    let mut labels: Vec<_> = labels.iter().map(|it| (it.name().to_owned(), it.value().to_owned())).collect();
    labels.sort_unstable();
    (name.to_owned(), labels)
}

/// Labels, with the bound of a bucket where there is one.
struct Labels<'a>(&'a [LabelPair], Option<f64>);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(labels, bound) = self;
        if labels.is_empty() && bound.is_none() {
            return Ok(());
        }
        let mut separator = "{";
        for label in *labels {
            write!(f, "{separator}{}=\"{}\"", label.name(), Escaped(label.value()))?;
            separator = ",";
        }
        if let Some(bound) = bound {
            write!(f, "{separator}le=\"{}\"", Number(*bound))?;
        }
        f.write_str("}")
    }
}

/// A number with a point, as the bounds of buckets must have it.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if value.is_nan() => f.write_str("NaN"),
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            value => write!(f, "{value:?}"),
        }
    }
}

/// Text between quotes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            other => f.write_char(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

    use super::*;

    #[test]
    fn openmetrics_is_given_to_whom_takes_it_at_least_as_gladly_as_plain_text() {
        for (accept, is_given) in [
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", true),
            ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", true),
            ("text/plain", false),
            ("*/*", false),
            ("", false),
            ("text/plain;q=0.9, application/openmetrics-text;q=0.2", false),
            ("application/openmetrics-text;q=0", false),
        ] {
            assert_eq!(is_wanted(accept), is_given, "{accept}");
        }
    }

    #[test]
    fn each_kind_of_metric_is_written_with_its_suffixes() {
        let registry = Registry::new();
        let calls = IntCounterVec::new(Opts::new("calls_total", "Calls"), &["path"]).unwrap();
        let open = IntGauge::new("open", "Open \"ones\"").unwrap();
        let took =
            HistogramVec::new(HistogramOpts::new("took_seconds", "Time").buckets(vec![0.5, 1.0]), &["a"]).unwrap();
        registry.register(Box::new(calls.clone())).unwrap();
        registry.register(Box::new(open)).unwrap();
        registry.register(Box::new(took.clone())).unwrap();
        calls.with_label_values(&["a\\\"b\n"]).inc_by(2);
        took.with_label_values(&["b"]).observe(0.75);
        let expected = "# TYPE calls counter\n# HELP calls Calls\ncalls_total{path=\"a\\\\\\\"b\\n\"} 2.0\n\
                        # TYPE open gauge\n# HELP open Open \\\"ones\\\"\nopen 0.0\n\
                        # TYPE took_seconds histogram\n# HELP took_seconds Time\n\
                        took_seconds_bucket{a=\"b\",le=\"0.5\"} 0\n\
                        took_seconds_bucket{a=\"b\",le=\"1.0\"} 1\ntook_seconds_bucket{a=\"b\",le=\"+Inf\"} 1\n\
                        took_seconds_sum{a=\"b\"} 0.75\ntook_seconds_count{a=\"b\"} 1\n# EOF\n";
        assert_eq!(text(&registry.gather(), &HashMap::new()), expected);
    }
}
