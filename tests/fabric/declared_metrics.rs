//! What a binary shows at `/metrics`, held against what it declares: no series has a name, a label or a value of a closed label that is
//! not declared.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// What OpenTelemetry itself shows: the resource, as labels.
const RESOURCE: &str = "target_info";

/// What one binary declares.
struct Declared(HashMap<String, Metric>);

struct Metric {
    is_histogram: bool,
    /// The values of each label; none where they are not known.
    labels: HashMap<String, Vec<String>>,
}

/// Fails where a text of `/metrics` has what the binary does not declare.
pub(crate) fn hold(program: &Path, text: &str) -> Result<()> {
    let declared = declared(program)?;
    let wrong: Vec<_> =
        text.lines().filter_map(|line| Some(format!("{line}: {}", declared.wrong_with(line)?))).collect();
    ensure!(wrong.is_empty(), "{} shows what it does not declare:\n{}", program.display(), wrong.join("\n"));
    Ok(())
}

/// What `metrics` of a binary lists, asked once.
fn declared(program: &Path) -> Result<Arc<Declared>> {
    static ASKED: Mutex<Option<HashMap<PathBuf, Arc<Declared>>>> = Mutex::new(None);
    let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    let asked = asked.get_or_insert_default();
    if let Some(known) = asked.get(program) {
        return Ok(Arc::clone(known));
    }
    let output = Command::new(program).args(["metrics", "--output", "json"]).output()?;
    ensure!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    let listed: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let metrics = listed.iter().map(|metric| Metric::of(metric).with_context(|| format!("of {metric}")));
    let declared = Arc::new(Declared(metrics.collect::<Result<_>>()?));
    asked.insert(program.to_owned(), Arc::clone(&declared));
    Ok(declared)
}

impl Metric {
    fn of(listed: &Value) -> Result<(String, Self)> {
        let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
        let list = |value: &Value| value.as_array().cloned().context("no list");
        let label = |label: &Value| {
            let values = list(&label["values"])?.iter().map(|value| text(&value[0])).collect::<Result<_>>()?;
            anyhow::Ok((text(&label["name"])?.replace('.', "_"), values))
        };
        let labels = list(&listed["labels"])?.iter().map(label).collect::<Result<_>>()?;
        Ok((text(&listed["prometheus"])?, Self { is_histogram: listed["kind"] == "histogram", labels }))
    }
}

impl Declared {
    /// What is wrong with a line, if anything is.
    fn wrong_with(&self, line: &str) -> Option<String> {
        if line.is_empty() || line.starts_with('#') || line.starts_with(RESOURCE) {
            return None;
        }
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| self.0.get(name.strip_suffix(end)?));
        let metric = self.0.get(name).filter(|metric| !metric.is_histogram);
        let Some(metric) = metric.or(of_histogram.filter(|metric| metric.is_histogram)) else {
            return Some("no such metric".to_owned());
        };
        let wrong = |(label, value): (&str, &str)| match metric.labels.get(label) {
            None if label == "le" && metric.is_histogram => None,
            None => Some(format!("no label {label}")),
            Some(values) if values.is_empty() || values.iter().any(|known| known == value) => None,
            Some(_) => Some(format!("{label} has no value {value:?}")),
        };
        labels(line).into_iter().find_map(wrong)
    }
}

/// The labels of a line, with their values as they are written.
fn labels(line: &str) -> Vec<(&str, &str)> {
    let mut rest = line.split_once('{').map_or("", |(_, rest)| rest);
    let mut labels = Vec::new();
    while let Some((name, behind)) = rest.split_once("=\"") {
        let mut is_escaped = false;
        let end = behind.find(|letter| {
            let is_end = letter == '"' && !is_escaped;
            is_escaped = letter == '\\' && !is_escaped;
            is_end
        });
        let Some((value, behind)) = end.map(|end| behind.split_at(end)) else { break };
        labels.push((name.trim_start_matches(','), value));
        rest = behind.get(1..).unwrap_or_default();
    }
    labels
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A counter and a histogram as a binary lists them.
    fn declared() -> Declared {
        let kind = json!({ "name": "a.kind", "values": [["x", ""], ["y", "why"]] });
        let listed = [
            json!({ "prometheus": "calls_total", "kind": "counter", "labels": [kind] }),
            json!({ "prometheus": "took_seconds", "kind": "histogram", "labels": [{ "name": "file", "values": [] }] }),
        ];
        Declared(listed.iter().map(|metric| Metric::of(metric).unwrap()).collect())
    }

    #[test]
    fn declared_series_are_accepted() {
        let lines = ["# HELP what", "calls_total 1", "calls_total{a_kind=\"y\"} 1", "target_info{a=\"b\"} 1"];
        let histogram = ["took_seconds_bucket{file=\"a,b=\\\"c\\\"\",le=\"+Inf\"} 1", "took_seconds_sum 1"];
        for line in lines.into_iter().chain(histogram) {
            assert_eq!(declared().wrong_with(line), None, "{line}");
        }
    }

    #[test]
    fn name_label_and_value_that_are_not_declared_are_told() {
        let wrong = |line| declared().wrong_with(line).unwrap();
        assert_eq!(wrong("call_total 1"), "no such metric");
        assert_eq!(wrong("took_seconds 1"), "no such metric");
        assert_eq!(wrong("calls_total_sum 1"), "no such metric");
        assert_eq!(wrong("calls_total{le=\"1\"} 1"), "no label le");
        assert_eq!(wrong("calls_total{a_kind=\"x\",other=\"x\"} 1"), "no label other");
        assert_eq!(wrong("calls_total{a_kind=\"z\"} 1"), "a_kind has no value \"z\"");
    }
}
