//! Code that speaks its own terms: under some folders no library may be named that brings a protocol or a command line.

use std::path::Path;

use anyhow::{Result, ensure};

use super::Finding;
use crate::workspace;

/// A folder (with the file of the same name beside it), what is not named there, and why.
const SEAMS: [(&str, &[&str], &str); 2] = [
    (
        "crates/auth/src/domain",
        &["tonic", "prost_types", "clap", "accord_api", "accord_mesh"],
        "gRPC, OAuth and the command line are faces on the domain, which knows none of them",
    ),
    (
        "crates/auth/src/store",
        &["tonic", "prost_types", "clap", "accord_api", "accord_mesh"],
        "what lasts has the same form whoever asks for it",
    ),
];

/// Reads every file under these folders.
pub(super) fn check() -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let files = workspace::files()?;
    for (folder, words, reason) in SEAMS {
        let inside: Vec<_> = files.iter().filter(|file| is_in(file, folder)).collect();
        ensure!(!inside.is_empty(), "there is no {folder}: the table of seams names a folder that is gone");
        for file in inside {
            findings.extend(named(file, &workspace::read(file)?, words, reason));
        }
    }
    Ok(findings)
}

fn is_in(file: &Path, folder: &str) -> bool {
    file.extension().is_some_and(|extension| extension == "rs")
        && (file.starts_with(folder) || file.with_extension("") == Path::new(folder))
}

fn named(file: &Path, text: &str, words: &[&str], reason: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        // Comments may say what a thing is for.
        let code = line.split("//").next().unwrap_or_default();
        let names = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        for name in names.filter(|name| words.contains(name)) {
            findings.push(format!("{}:{number} names {name}: {reason}", file.display()));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<Finding> {
        named(Path::new("a.rs"), text, &["tonic", "clap"], "because")
    }

    #[test]
    fn forbidden_library_is_found_with_its_line_and_reason() {
        assert_eq!(found("use std::fmt;\nuse tonic::Status;\n"), ["a.rs:2 names tonic: because"]);
    }

    #[test]
    fn forbidden_library_is_found_in_a_path_of_code() {
        assert_eq!(found("fn f() -> Result<(), clap::Error> {\n").len(), 1);
    }

    #[test]
    fn comment_and_longer_name_are_not_found() {
        assert!(found("//! As tonic has it.\nlet tonic_like = 1; // not clap\n").is_empty());
    }

    #[test]
    fn file_of_the_folders_name_belongs_to_it() {
        let inside = |file: &str| is_in(Path::new(file), "shop/src/domain");
        assert!(inside("shop/src/domain/order.rs") && inside("shop/src/domain.rs"));
        assert!(!inside("shop/src/domain/policy.cedar") && !inside("shop/src/service.rs"));
    }
}
