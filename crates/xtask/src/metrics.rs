//! `cargo xtask metrics`: writes the guide's table of metrics from what the binaries declare.

use std::{collections::BTreeSet, fs, process::Command};

use accord_fabric::binaries;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{say::say, workspace};

/// Where the table is.
pub(crate) const PAGE: &str = "deploy/guide/operations.md";

const HEADER: &str = "| metric | in Prometheus | kind | at | what it tells | labels |\n|---|---|---|---|---|---|\n";

/// The binaries, in the order in which the table has what each of them is the first to show.
const BINARIES: [&str; 3] = ["accord-gateway", "accord-auth", "accord-cache"];

/// What `cargo xtask metrics` can be asked: nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Writes the table anew.
pub(crate) fn run(Args {}: &Args) -> Result<()> {
    let path = workspace::root().join(PAGE);
    let page = fs::read_to_string(&path)?;
    let (before, _, after) = around(&page)?;
    fs::write(&path, format!("{before}{}{after}", table()?))?;
    say(format_args!("{PAGE} has the metrics that the binaries declare"))
}

/// What a page has before the table, the table itself, and what is behind it.
pub(crate) fn around(page: &str) -> Result<(&str, &str, &str)> {
    let title = HEADER.lines().next().unwrap_or_default();
    let begin = page.find(title).with_context(|| format!("{PAGE} has no table with the head `{title}`"))?;
    let length = page[begin..].find("\n\n").map_or(page.len() - begin, |end| end + 1);
    let (before, rest) = page.split_at(begin);
    let (table, after) = rest.split_at(length);
    Ok((before, table, after))
}

/// The table, as the binaries that are built declare it.
pub(crate) fn table() -> Result<String> {
    let lists = BINARIES.iter().map(|name| Ok((*name, list(name)?))).collect::<Result<Vec<_>>>()?;
    let mut table = HEADER.to_owned();
    let mut seen = BTreeSet::new();
    for metric in lists.iter().flat_map(|(_, metrics)| metrics) {
        let name = text(metric, "name")?;
        if !seen.insert(name) {
            continue;
        }
        let shows = |metrics: &[Value]| metrics.iter().any(|other| other["name"] == metric["name"]);
        let at: Vec<_> = lists.iter().filter(|(_, metrics)| shows(metrics)).map(|(binary, _)| *binary).collect();
        table += &row(metric, &at)?;
    }
    Ok(table)
}

/// What `metrics` of a binary lists.
fn list(binary: &str) -> Result<Vec<Value>> {
    let output = Command::new(binaries::path(binary)?).args(["metrics", "--output", "json"]).output()?;
    ensure!(output.status.success(), "{binary} metrics: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn row(metric: &Value, at: &[&str]) -> Result<String> {
    let [name, prometheus, kind, description] =
        ["name", "prometheus", "kind", "description"].map(|key| text(metric, key));
    let at = if at.len() == BINARIES.len() { "all".to_owned() } else { at.join(", ").replace("accord-", "") };
    let labels = metric["labels"].as_array().context("labels are no list")?;
    let labels: String = labels.iter().map(label).collect::<Result<Vec<_>>>()?.join("; ");
    let labels = if labels.is_empty() { labels } else { labels + " " };
    Ok(format!("| `{}` | `{}` | {} | {at} | {} | {labels}|\n", name?, prometheus?, kind?, description?))
}

/// A label, as Prometheus has it, with its values where they are known.
fn label(label: &Value) -> Result<String> {
    let (name, note) = (format!("`{}`", text(label, "name")?.replace('.', "_")), text(label, "note")?);
    let value = |value: &Value| {
        let [value, why] = [0, 1].map(|at| value[at].as_str().unwrap_or_default());
        if why.is_empty() { format!("`{value}`") } else { format!("`{value}` ({why})") }
    };
    let values = label["values"].as_array().context("values are no list")?;
    let values: Vec<_> = values.iter().map(value).collect();
    Ok(match (values.is_empty(), note.is_empty()) {
        (true, true) => name,
        (true, false) => format!("{name}: {note}"),
        (false, true) => format!("{name}: {}", values.join(", ")),
        (false, false) => format!("{name} ({note}): {}", values.join(", ")),
    })
}

fn text<'a>(of: &'a Value, key: &str) -> Result<&'a str> {
    of[key].as_str().with_context(|| format!("{of} has no {key}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn row_has_names_kind_places_and_labels_with_their_values() {
        let labels = json!([
            { "name": "a.kind", "values": [["x", ""], ["y", "why"]], "note": "sometimes" },
            { "name": "file", "values": [], "note": "" },
            { "name": "by", "values": [], "note": "as configured" },
        ]);
        let metric = json!({ "name": "a.b", "prometheus": "a_b_total", "kind": "counter", "description": "What", "labels": labels });
        let labels = "`a_kind` (sometimes): `x`, `y` (why); `file`; `by`: as configured";
        let expected = |at: &str| format!("| `a.b` | `a_b_total` | counter | {at} | What | {labels} |\n");
        assert_eq!(row(&metric, &["accord-gateway", "accord-cache"]).unwrap(), expected("gateway, cache"));
        assert_eq!(row(&metric, &BINARIES).unwrap(), expected("all"));
    }

    #[test]
    fn table_of_a_page_is_found_between_what_is_around_it() {
        let page = format!("before\n\n{HEADER}| `a` |\n\nafter\n");
        let (before, table, after) = around(&page).unwrap();
        assert_eq!((before, table, after), ("before\n\n", &*format!("{HEADER}| `a` |\n"), "\nafter\n"));
        assert!(around("no table").is_err());
    }
}
