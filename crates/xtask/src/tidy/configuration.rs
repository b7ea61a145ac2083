//! `deploy/config/*.toml` document every key of the binaries, with its real default.
//!
//! In those files a line that begins with `#` and no space is a key at its default, left out: `#grace = "30s"`. With all
//! such marks taken off, a file is the whole configuration, which the binary must accept and which must name every key
//! that the binary prints.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use accord_fabric::binaries;
use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Finding;
use crate::workspace;

/// The files and the binaries that they configure.
const DOCUMENTED: [(&str, &str); 3] = [
    ("deploy/config/gateway.toml", "accord-gateway"),
    ("deploy/config/auth.toml", "accord-auth"),
    ("deploy/config/cache.toml", "accord-cache"),
];

/// What `config print` shows in place of a secret.
const HIDDEN: &str = "***";

/// Asks each binary what it makes of its file.
pub fn check() -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (file, binary) in DOCUMENTED {
        findings.extend(check_file(file, binary)?);
    }
    Ok(findings)
}

fn check_file(file: &str, binary: &str) -> Result<Vec<Finding>> {
    let path = workspace::root().join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("{file} could not be read"))?;
    let whole = tempfile::Builder::new().suffix(".toml").tempfile()?;
    fs::write(whole.path(), with_defaults(&text))?;
    for (state, path) in [("as it is", path.as_path()), ("with its defaults spelled out", whole.path())] {
        if let Err(refusal) = print(binary, Some(path))? {
            return Ok(vec![format!("{binary} refuses {file} {state}: {refusal}")]);
        }
    }
    let defaults = match print(binary, None)? {
        Ok(printed) => flatten(&toml::from_str(&printed)?),
        Err(refusal) => return Ok(vec![format!("{binary} refuses its own defaults: {refusal}")]),
    };
    Ok(disagreements(file, &text, &defaults))
}

/// What `config print` prints, or why it refuses.
fn print(binary: &str, file: Option<&Path>) -> Result<std::result::Result<String, String>> {
    let mut command = Command::new(binaries::path(binary)?);
    command.args(["config", "print"]);
    if let Some(file) = file {
        command.arg("--config").arg(file);
    }
    let output = command.output().with_context(|| format!("{binary} could not be started"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
}

/// Every key must be in the file; one that is there as a default must state the real one.
fn disagreements(file: &str, text: &str, defaults: &BTreeMap<String, Value>) -> Vec<Finding> {
    let (Ok(set), Ok(whole)) = (toml::from_str(text), toml::from_str(&with_defaults(text))) else {
        return vec![format!("{file} is not TOML once its defaults are spelled out")];
    };
    let (set, whole) = (flatten(&set), flatten(&whole));
    let mut findings = Vec::new();
    for (key, default) in defaults {
        match whole.get(key) {
            None if whole.keys().any(|known| known.starts_with(&format!("{key}."))) => {}
            None => findings.push(format!("{file} does not document {key}, whose default is {default}")),
            Some(stated) if !set.contains_key(key) && stated != default && default.as_str() != Some(HIDDEN) => {
                findings.push(format!("{file} gives {stated} as the default of {key}, but it is {default}"));
            }
            Some(_) => {}
        }
    }
    findings
}

fn with_defaults(text: &str) -> String {
    text.lines().map(|line| spelled_out(line).unwrap_or(line).to_owned() + "\n").collect()
}

fn spelled_out(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '['))
}

/// Dotted paths of all values. An array of tables is as deep as its first table: its members are alike.
fn flatten(table: &Table) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (key, value) in table {
        let inner = match value {
            Value::Table(inner) => Some(inner),
            Value::Array(items) => items.first().and_then(Value::as_table),
            _ => None,
        };
        let Some(inner) = inner else {
            flat.insert(key.clone(), value.clone());
            continue;
        };
        flat.extend(flatten(inner).into_iter().map(|(path, value)| (format!("{key}.{path}"), value)));
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::{disagreements, flatten};

    const DEFAULTS: &str = "grace = \"30s\"\n[listen]\naddress = \"127.0.0.1:8080\"\nmax_streams = 200\n";

    fn findings(text: &str) -> Vec<String> {
        disagreements("a.toml", text, &flatten(&toml::from_str(DEFAULTS).expect("the defaults are TOML")))
    }

    #[test]
    fn a_file_that_names_every_key_is_accepted() {
        let text =
            "# How long.\n#grace = \"30s\"\n[listen]\naddress = \"0.0.0.0:8080\"\n# Streams.\n#max_streams = 200\n";
        assert_eq!(findings(text), Vec::<String>::new());
    }

    #[test]
    fn a_missing_key_and_a_wrong_default_are_found() {
        let found = findings("#grace = \"10s\"\n[listen]\naddress = \"0.0.0.0:8080\"\n");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("default of grace"), "{found:?}");
        assert!(found[1].contains("listen.max_streams"), "{found:?}");
    }
}
