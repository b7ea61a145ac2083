//! Files that a reader can hold in mind, names that say something, and no promises in place of work.

use std::path::Path;

use anyhow::Result;

use super::Finding;
use crate::workspace;

/// A file that no longer reads from the top wants to be two.
const LONGEST_FILE: usize = 400;

/// A function that no longer reads at a glance wants to be several. Its own lines count, from its name to its brace.
const LONGEST_FUNCTION: usize = 50;

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
            let content = workspace::read(&file)?;
            findings.extend(postponements(&file, &content));
            if extension == "rs" {
                findings.extend(form(&file, &content));
                findings.extend(functions(&file, &content));
            }
        }
    }
    Ok(findings)
}

fn form(file: &Path, content: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = content.lines().count();
    if lines > LONGEST_FILE {
        findings.push(format!("{} has {lines} lines; above {LONGEST_FILE} it wants to be two files", file.display()));
    }
    let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    if EMPTY_NAMES.contains(&name) {
        findings.push(format!("{} has a name that says nothing about what is in it", file.display()));
    }
    findings
}

/// Functions as rustfmt lays them out: they end at the first brace that stands as far in as they begin.
fn functions(file: &Path, content: &str) -> Vec<Finding> {
    let lines: Vec<&str> = content.lines().collect();
    let begins = lines.iter().enumerate().filter(|(_, line)| !line.ends_with('}'));
    let begins = begins.filter_map(|(at, line)| Some((at, function(line)?)));
    let measured = begins.filter_map(|(at, name)| {
        let brace = format!("{}}}", &lines[at][..lines[at].len() - lines[at].trim_start().len()]);
        let end = lines[at..].iter().position(|line| *line == brace)?;
        let body = lines[at..].iter().position(|line| line.ends_with(['{', ';']))?;
        Some((at + 1, name, end + 1)).filter(|_| lines[at + body].ends_with('{'))
    });
    let long = measured.filter(|(_, _, length)| *length > LONGEST_FUNCTION);
    let file = file.display();
    long.map(|(line, name, length)| {
        format!("{file}:{line} `{name}` has {length} lines; above {LONGEST_FUNCTION} it wants to be several")
    })
    .collect()
}

/// The name of the function that begins on a line.
fn function(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let qualifies = |word: &str| word.starts_with("pub") || ["const", "async", "unsafe", "extern"].contains(&word);
    let is_declared = before.split_whitespace().all(|word| qualifies(word) || word.starts_with('"'));
    is_declared.then(|| after.split(['(', '<']).next()).flatten()
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

    use super::{LONGEST_FILE, LONGEST_FUNCTION, form, functions, postponements};

    #[test]
    fn long_files_and_empty_names_are_found() {
        assert!(form(Path::new("src/flight.rs"), &"\n".repeat(LONGEST_FILE)).is_empty());
        assert_eq!(form(Path::new("src/flight.rs"), &"\n".repeat(LONGEST_FILE + 1)).len(), 1);
        assert_eq!(form(Path::new("src/flight/mod.rs"), "").len(), 1);
    }

    #[test]
    fn function_over_the_limit_is_found_with_its_name_and_line() {
        let of = |lines: usize| {
            format!(
                "impl A {{\n    pub(crate) async fn long(\n        a: u8,\n    ) {{\n{}    }}\n}}\n",
                "        a();\n".repeat(lines - 4)
            )
        };
        let found = |text: &str| functions(Path::new("a.rs"), text);
        assert_eq!(found(&of(LONGEST_FUNCTION)), Vec::<String>::new());
        assert_eq!(found(&of(LONGEST_FUNCTION + 1)), ["a.rs:2 `long` has 51 lines; above 50 it wants to be several"]);
    }

    #[test]
    fn function_without_a_body_ends_where_it_begins() {
        let text = format!(
            "trait A {{\n    fn c() {{ 1 }}\n    fn a(&self);\n{}    fn b() {{\n    }}\n}}\n",
            "    // Why.\n".repeat(60)
        );
        assert_eq!(functions(Path::new("a.rs"), &text), Vec::<String>::new());
    }

    #[test]
    fn postponement_is_found_with_its_line() {
        let text = format!("fn later() {{}}\n// {}: later\n", super::POSTPONEMENTS[0]);
        assert_eq!(postponements(Path::new("a.rs"), &text).len(), 1);
        assert!(postponements(Path::new("a.rs"), &text)[0].starts_with("a.rs:2 "));
    }
}
