//! Reading of Prometheus text, as far as a test or a live line needs it.

/// The sum of all samples with this name whose labels contain all of these.
///
/// ```
/// let text = "calls_total{method=\"Get\",code=\"OK\"} 2\ncalls_total{method=\"Get\",code=\"NOT_FOUND\"} 1\n";
/// assert_eq!(accord_fabric::metrics::sum(text, "calls_total", &[("method", "Get")]), 3.0);
/// assert_eq!(accord_fabric::metrics::sum(text, "calls_total", &[("code", "OK")]), 2.0);
/// ```
pub fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let wanted: Vec<_> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    let samples = text.lines().filter_map(|line| sample(line, name));
    let values = samples.filter(|(found, _)| contains(found, &wanted)).map(|(_, value)| value);
    // Not `sum`: of nothing, that is -0.
    values.fold(0.0, |sum, value| sum + value)
}

fn contains(labels: &str, wanted: &[String]) -> bool {
    wanted.iter().all(|label| labels.contains(label.as_str()))
}

/// Labels and value of a line that is a sample of this name.
fn sample<'a>(line: &'a str, name: &str) -> Option<(&'a str, f64)> {
    let rest = line.strip_prefix(name)?;
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => rest.rsplit_once('}')?,
        None => ("", rest.strip_prefix(' ')?),
    };
    Some((labels, value.split_whitespace().next()?.parse().ok()?))
}
