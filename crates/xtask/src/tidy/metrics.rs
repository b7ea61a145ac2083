//! The guide's table of metrics is what the binaries declare, and its table of OpenTelemetry's variables has those that are read.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use super::Finding;
use crate::{metrics, workspace};

/// Where variables of OpenTelemetry are read.
const READING: [&str; 2] =
    ["crates/runtime/src/telemetry/environment.rs", "crates/runtime/src/telemetry/environment/exporter.rs"];

/// Those that the libraries read by themselves: whether and how spans are batched, and what the resource is.
const OF_LIBRARIES: [&str; 6] = [
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SERVICE_NAME",
];

/// Compares the tables with the binaries.
pub(super) fn check() -> Result<Vec<Finding>> {
    let page = workspace::read(Path::new(metrics::PAGE))?;
    let (_, documented, _) = metrics::around(&page)?;
    let declared = metrics::table()?;
    let mut findings = differences(documented, &declared);
    let mut read: BTreeSet<String> = OF_LIBRARIES.map(str::to_owned).into();
    for file in READING {
        // Tests name others.
        let text = workspace::read(Path::new(file))?;
        read.extend(variables(text.split("#[cfg(test)]").next().unwrap_or_default()));
    }
    let told = variables(&page);
    let is_told = |name: &String| told.contains(name) || told.contains(&general(name));
    findings.extend(
        read.iter().filter(|name| !is_told(name)).map(|name| format!("{} does not tell {name}", metrics::PAGE)),
    );
    findings.extend(told.difference(&read).map(|name| format!("{} tells {name}, which nobody reads", metrics::PAGE)));
    Ok(findings)
}

/// Rows that are there and not declared, and the other way round.
fn differences(documented: &str, declared: &str) -> Vec<Finding> {
    if documented == declared {
        return Vec::new();
    }
    let [documented, declared] = [documented, declared].map(|table| table.lines().collect::<BTreeSet<_>>());
    let page = metrics::PAGE;
    let extra = documented.difference(&declared).map(|row| format!("{page} has a row that no binary declares: {row}"));
    let missing = declared.difference(&documented).map(|row| format!("{page} has no row {row}"));
    let order = format!("{page} has another order than `cargo xtask metrics` writes");
    let findings: Vec<_> = extra.chain(missing).collect();
    if findings.is_empty() { vec![order] } else { findings }
}

/// The name for all signals of a variable that is of one, for which the guide stands in.
fn general(name: &str) -> String {
    name.replace("_TRACES_", "_").replace("_METRICS_", "_")
}

/// The variables of OpenTelemetry that a text names.
fn variables(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !(letter.is_ascii_uppercase() || letter == '_'));
    words.filter(|word| word.starts_with("OTEL_") && !word.ends_with('_')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_that_is_missing_or_not_declared_is_told() {
        assert_eq!(differences("head\na\nb\n", "head\na\nb\n"), Vec::<String>::new());
        let found = differences("head\na\nc\n", "head\na\nb\n");
        assert!(found.len() == 2 && found[0].ends_with("declares: c") && found[1].ends_with("no row b"), "{found:?}");
        assert!(differences("head\nb\na\n", "head\na\nb\n")[0].contains("another order"));
    }

    #[test]
    fn variables_are_found_in_code_and_pages() {
        let found = variables("const A: &str = \"OTEL_EXPORTER_OTLP_HEADERS\"; `OTEL_SERVICE_NAME`, OTEL_ and OTEL_*");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_SERVICE_NAME"]);
    }
}
