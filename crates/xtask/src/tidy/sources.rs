//! Files that a reader can hold in mind, names that say something, and no promises in place of work.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::Finding;
use crate::workspace;

/// A file that no longer reads from the top wants to be two.
const LONGEST: usize = 500;

/// Names under which anything could be found.
const EMPTY_NAMES: [&str; 8] = ["mod", "util", "utils", "common", "helper", "helpers", "types", "misc"];

/// Words that put off what has to be done, or say so. Spelled in two parts, so as not to find themselves.
const POSTPONEMENTS: [&str; 7] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("unimpl", "emented!"),
    concat!("to", "do!("),
    concat!("d", "bg!("),
    concat!("#[ig", "nore"),
];

const TEXTS: [&str; 10] = ["rs", "proto", "toml", "md", "py", "yaml", "yml", "sql", "sh", "cedar"];

/// Reads every file of the project.
pub(super) fn check() -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in workspace::files()? {
        let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if TEXTS.contains(&extension) {
            let content = fs::read_to_string(workspace::root().join(&file))
                .with_context(|| format!("{} could not be read", file.display()))?;
            findings.extend(postponements(&file, &content));
            if extension == "rs" {
                findings.extend(form(&file, &content));
            }
        }
    }
    Ok(findings)
}

fn form(file: &Path, content: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = content.lines().count();
    if lines > LONGEST {
        findings.push(format!("{} has {lines} lines; above {LONGEST} it wants to be two files", file.display()));
    }
    let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    if EMPTY_NAMES.contains(&name) {
        findings.push(format!("{} has a name that says nothing about what is in it", file.display()));
    }
    findings
}

fn postponements(file: &Path, content: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(content.lines()) {
        for word in POSTPONEMENTS.iter().filter(|word| line.contains(**word)) {
            findings.push(format!("{}:{number} says {word}: do it, or leave it out", file.display()));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{LONGEST, form, postponements};

    #[test]
    fn long_files_and_empty_names_are_found() {
        assert!(form(Path::new("src/flight.rs"), &"\n".repeat(LONGEST)).is_empty());
        assert_eq!(form(Path::new("src/flight.rs"), &"\n".repeat(LONGEST + 1)).len(), 1);
        assert_eq!(form(Path::new("src/flight/mod.rs"), "").len(), 1);
    }

    #[test]
    fn a_postponement_is_found_with_its_line() {
        let text = format!("fn later() {{}}\n// {}: later\n", super::POSTPONEMENTS[0]);
        assert_eq!(postponements(Path::new("a.rs"), &text).len(), 1);
        assert!(postponements(Path::new("a.rs"), &text)[0].starts_with("a.rs:2 "));
    }
}
