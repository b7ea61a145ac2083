//! `metrics`: which metrics a binary may show.

use std::fmt;

use accord_metric::{Kind, Label, Metric};
use serde::Serialize;

use super::{Binary, output::OutputFlag};
use crate::declared_metrics::METRICS;

/// Prints every metric that the binary's crates declare.
pub(super) fn list<B: Binary>(flag: OutputFlag) -> anyhow::Result<()> {
    let mut list = flag.list();
    list.page(METRICS.iter().chain(B::METRICS.iter().copied().flatten()).map(Shown::of))?;
    list.end()
}

/// A metric under the name that Prometheus has for it.
#[derive(Serialize)]
struct Shown<'a> {
    prometheus: String,
    #[serde(flatten)]
    metric: &'a Metric,
}

impl<'a> Shown<'a> {
    fn of(metric: &'a Metric) -> Self {
        Self { prometheus: metric.shown(), metric }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<_> = self.metric.labels.iter().map(Label::shown).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(", ")) };
        writeln!(formatter, "{}{labels} ({kind}): {}", self.prometheus, self.metric.help())
    }
}
