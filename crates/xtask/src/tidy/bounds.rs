//! `tests/README.md` names every bound of the gateway's configuration, and tests that exist.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Result, ensure};

use super::{Finding, links};
use crate::workspace;

/// Where they are listed.
const PAGE: &str = "tests/README.md";

/// What documents every key of the gateway.
const CONFIGURATION: [&str; 2] = ["deploy/config/gateway.toml", "deploy/config/upstreams.toml"];

/// Sections with the keys of `listen`.
const LISTENERS: [&str; 2] = ["admin", "internal"];

/// Compares the page with the configuration and with the tests.
pub(super) fn check() -> Result<Vec<Finding>> {
    let page = workspace::read(Path::new(PAGE))?;
    let mut findings = missing_keys(&page)?;
    for (test, target) in page.lines().filter(|line| line.starts_with('|')).flat_map(named_tests) {
        let file = links::resolve(Path::new(PAGE), &target);
        let text = workspace::read(&file)?;
        if !text.contains(&format!("fn {test}(")) {
            findings.push(format!("{PAGE} names the test {test}, which is not in {}", file.display()));
        }
    }
    Ok(findings)
}

fn missing_keys(page: &str) -> Result<Vec<Finding>> {
    let mut keys = BTreeSet::new();
    for file in CONFIGURATION {
        keys.extend(bounds(&workspace::read(Path::new(file))?));
    }
    ensure!(!keys.is_empty(), "{} have no bounds any more", CONFIGURATION.join(" and "));
    let is_held = |line: &str, key: &str| line.starts_with('|') && line.contains(key) && !named_tests(line).is_empty();
    let unnamed = keys.into_iter().filter(|key| !page.lines().any(|line| is_held(line, &format!("`{key}`"))));
    Ok(unnamed.map(|key| format!("{PAGE} does not name `{key}` with the test that holds it")).collect())
}

/// The keys of a configuration file that bound something, those at their defaults included.
fn bounds(text: &str) -> Vec<String> {
    let (mut section, mut keys) = (String::new(), Vec::new());
    for line in text.lines().map(|line| line.strip_prefix('#').unwrap_or(line)) {
        if let Some(name) = line.strip_prefix('[') {
            let name = name.trim_start_matches('[').trim_end_matches(']');
            section = format!("{}.", if LISTENERS.contains(&name) { "listen" } else { name });
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| is_bound(key)) {
            keys.push(format!("{section}{key}"));
        }
    }
    keys
}

fn is_bound(key: &str) -> bool {
    let is_key = key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
    is_key && (key.starts_with("max_") || key.ends_with("timeout") || key.ends_with("grace"))
}

/// The links of a line whose text is the name of a test.
fn named_tests(line: &str) -> Vec<(String, String)> {
    let links = line.split("[`").skip(1);
    let parts = links.filter_map(|link| link.split_once(')')?.0.split_once("`]("));
    parts.map(|(test, target)| (test.to_owned(), target.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_found_by_their_sections_and_at_their_defaults() {
        let text = "#grace = \"30s\"\n# About max_words = 3.\n[listen]\n#max_streams = 100\naddress = \"a\"\n#[admin]\n\
                    header_timeout = \"10s\"\n#[[upstream]]\n#max_share = 50\n[upstream.adaptive]\n#latency = \"20ms\"\n";
        assert_eq!(bounds(text), ["grace", "listen.max_streams", "listen.header_timeout", "upstream.max_share"]);
    }

    #[test]
    fn tests_are_named_by_links() {
        let line = "| `a.b` | [`one`](../x.rs), of another [`two`](y/z.rs) and [words](w.md) |";
        let expected = [("one", "../x.rs"), ("two", "y/z.rs")].map(|(test, file)| (test.to_owned(), file.to_owned()));
        assert_eq!(named_tests(line), expected);
    }
}
