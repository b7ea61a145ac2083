//! Commands that pages, comments, configuration files and messages show exist, with the flags they show.

use std::{collections::BTreeMap, path::Path, process::Command};

use accord_fabric::binaries;
use anyhow::{Context, Result};

use super::Finding;
use crate::workspace::{self, Package};

/// How a documented line begins, and the program that answers for it.
const PROGRAMS: [(&str, &str); 6] = [
    ("cargo xtask", "xtask"),
    ("accord-gateway", "accord-gateway"),
    ("accord-auth", "accord-auth"),
    ("accord-cache", "accord-cache"),
    ("accord-catalog", "accord-catalog"),
    ("accord-orders", "accord-orders"),
];

/// Files beside pages that show commands between backticks.
const OTHERS: [&str; 6] = ["rs", "proto", "toml", "yaml", "cedar", "txt"];

/// Asks each binary for the help of every command that a file shows.
pub(super) fn check() -> Result<Vec<Finding>> {
    let mut helps = BTreeMap::new();
    let mut findings = Vec::new();
    let targets = targets(&workspace::packages()?);
    for file in &workspace::files()? {
        let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let is_page = extension == "md";
        // Here commands that don't exist are examples.
        if file == Path::new(file!()) || !(is_page || OTHERS.contains(&extension)) {
            continue;
        }
        let text = workspace::read(file)?;
        findings.extend(unknown_targets(file, &text, &targets));
        for mention in mentions(&text, is_page) {
            let help = match helps.entry((mention.program, mention.subcommand.clone())) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(new) => new.insert(help(&mention)?),
            };
            findings.extend(mention.disagreements(file, help.as_deref()));
        }
    }
    Ok(findings)
}

/// A command as a document shows it.
#[derive(Debug, PartialEq)]
struct Mention {
    line: usize,
    program: &'static str,
    subcommand: Vec<String>,
    flags: Vec<String>,
}

impl Mention {
    /// `rest` is what follows the program on the line.
    fn new(line: usize, program: &'static str, rest: &str) -> Self {
        // A comment, a pipe or the next command ends what the program is given.
        let own = rest.split([';', '|', '&', '#', '`', '>']).next().unwrap_or_default();
        let words: Vec<&str> = own.split_whitespace().collect();
        let is_name =
            |word: &&&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        let subcommand = words.iter().take_while(|word| !word.starts_with('-')).take_while(is_name);
        let flags = words.iter().filter(|word| word.starts_with("--") && word.len() > 2);
        Self {
            line,
            program,
            subcommand: subcommand.map(|word| (*word).to_owned()).collect(),
            flags: flags.map(|flag| flag.split('=').next().unwrap_or(flag).to_owned()).collect(),
        }
    }

    fn disagreements(&self, file: &Path, help: Option<&str>) -> Vec<Finding> {
        let place = format!("{}:{}", file.display(), self.line);
        let command = format!("{} {}", self.program, self.subcommand.join(" "));
        let Some(help) = help else {
            return vec![format!("{place} shows `{command}`, which does not exist")];
        };
        let missing = self.flags.iter().filter(|flag| {
            !help.split(|byte: char| !(byte.is_alphanumeric() || byte == '-')).any(|word| word == *flag)
        });
        missing.map(|flag| format!("{place} shows `{command} {flag}`, but its help knows no such flag")).collect()
    }
}

/// The help of a command, or nothing where there is no such command.
fn help(mention: &Mention) -> Result<Option<String>> {
    let output = Command::new(binaries::path(mention.program)?)
        .args(&mention.subcommand)
        .arg("--help")
        .output()
        .with_context(|| format!("{} could not be started", mention.program))?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// What `cargo test` can be told to run: the packages, each with the names of its tests.
fn targets(packages: &[Package]) -> BTreeMap<String, Vec<String>> {
    let tests = |package: &Package| {
        let tests = package.targets.iter().filter(|it| it.kind.iter().any(|kind| kind == "test"));
        tests.map(|it| it.name.clone()).collect()
    };
    packages.iter().map(|package| (package.name.clone(), tests(package))).collect()
}

/// Each `cargo test -p PACKAGE --test NAME` that names what is not there.
fn unknown_targets(file: &Path, text: &str, targets: &BTreeMap<String, Vec<String>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for command in line.split("cargo test ").skip(1).filter_map(|rest| rest.split(['`', '|', ';', '"']).next()) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let after = |flags: &[&str]| words.windows(2).find(|pair| flags.contains(&pair[0])).map(|pair| pair[1]);
            let package = after(&["-p", "--package"]).map(|name| targets.get(name).ok_or(name));
            let unknown = match (package, after(&["--test"])) {
                (Some(Err(name)), _) => Some(name),
                (Some(Ok(tests)), Some(name)) => Some(name).filter(|name| !tests.iter().any(|test| test == name)),
                _ => None,
            };
            let finding =
                |name| format!("{}:{number} shows `cargo test {command}`, but there is no {name}", file.display());
            findings.extend(unknown.map(finding));
        }
    }
    findings
}

/// Every command in code: fenced blocks of a page, and spans between backticks. Prose may name a program without meaning a
/// command.
fn mentions(text: &str, is_page: bool) -> Vec<Mention> {
    let mut mentions = Vec::new();
    let mut fenced = false;
    for (number, line) in (1..).zip(text.lines()) {
        if is_page && line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            mentions.extend(in_code(number, line));
        } else {
            mentions.extend(line.split('`').skip(1).step_by(2).filter_map(|span| in_code(number, span)));
        }
    }
    mentions
}

fn in_code(number: usize, code: &str) -> Option<Mention> {
    let code = code.trim_start().trim_start_matches("$ ");
    PROGRAMS.iter().find_map(|(beginning, program)| {
        let rest = code.strip_prefix(beginning)?;
        // More than the bare name: `accord-auth` alone is a noun.
        let rest = rest.strip_prefix(' ')?;
        Some(Mention::new(number, program, rest))
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use super::{mentions, unknown_targets};

    #[test]
    fn commands_in_code_are_found_and_prose_is_not() {
        let text = "Run cargo xtask nothing, or `cargo xtask up --once`.\n```sh\n$ accord-gateway config print --config a.toml | less\n```\n`accord-auth` is a noun.";
        let found = mentions(text, true);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].subcommand.join(" "), found[0].flags.join(" ")), ("up".to_owned(), "--once".to_owned()));
        assert_eq!((found[1].subcommand.join(" "), found[1].line), ("config print".to_owned(), 3));
    }

    #[test]
    fn flag_must_be_a_whole_word_of_the_help() {
        let mention = &mentions("`accord-cache serve --listen ADDR`", false)[0];
        let file = Path::new("README.md");
        assert!(mention.disagreements(file, Some("--listen <ADDR>  Where")).is_empty());
        assert_eq!(mention.disagreements(file, Some("--listen-address <ADDR>")).len(), 1);
        assert_eq!(mention.disagreements(file, None).len(), 1);
    }

    #[test]
    fn test_that_does_not_exist_is_found() {
        let targets = BTreeMap::from([("accord-fabric".to_owned(), vec!["paths".to_owned()])]);
        let found = |text: &str| unknown_targets(Path::new("a.md"), text, &targets).len();
        assert_eq!(found("Run `cargo test -p accord-fabric --test paths`, or `cargo test --workspace`."), 0);
        assert_eq!(found("cargo test -p accord-fabric --test ways"), 1);
        assert_eq!(found("`cargo test --package accord-shop`"), 1);
    }
}
