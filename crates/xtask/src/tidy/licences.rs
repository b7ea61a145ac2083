//! Licences: what is built into Accord may be given away under Apache-2.0, and asks for nothing that a notice can't meet.

use anyhow::Result;

use super::Finding;
use crate::workspace::{self, Library};

/// The licences that a library may have, and why beyond what is common.
const ALLOWED: [(&str, &str); 13] = [
    ("Apache-2.0", "Accord's own"),
    ("Apache-2.0 WITH LLVM-exception", "asks for less than Apache-2.0"),
    ("MIT", "asks for its notice"),
    ("ISC", "asks for its notice; what TLS and cryptography are made of: rustls-webpki, aws-lc-rs"),
    ("BSD-2-Clause", "asks for its notice"),
    ("BSD-3-Clause", "asks for its notice, and not to advertise with its authors"),
    ("MPL-2.0", "holds for its own files alone, which are not changed here"),
    ("0BSD", "asks for nothing"),
    ("NCSA", "asks for its notice, and not to advertise with its authors; libFuzzer, which no binary of ours holds"),
    ("MIT-0", "MIT without its notice; what URIs are validated by: borrow-or-share of fluent-uri"),
    ("Zlib", "asks not to be misrepresented; zlib-rs, which gRPC's gzip is made by"),
    ("Unicode-3.0", "asks for its notice; the tables of Unicode that policies and URLs are read with"),
    ("CDLA-Permissive-2.0", "asks for its text; data alone: the root certificates of webpki-roots"),
];

/// Compares the licence of every library with the list.
pub(super) fn check() -> Result<Vec<Finding>> {
    Ok(workspace::libraries()?.iter().filter_map(finding).collect())
}

fn finding(library: &Library) -> Option<Finding> {
    let Library { name, version, license } = library;
    let Some(license) = license else { return Some(format!("{name} {version} does not say its licence")) };
    match is_allowed(license) {
        Some(true) => None,
        Some(false) => Some(format!("{name} {version} has the licence {license}, which is not on the list")),
        None => Some(format!("{name} {version} has the licence {license}, which is no SPDX expression")),
    }
}

/// Whether an SPDX expression can be met with the licences of the list; nothing where it is none. `AND` binds before `OR`,
/// and `/` is how `OR` was written once.
fn is_allowed(expression: &str) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (allowed, rest) = any(&words)?;
    rest.is_empty().then_some(allowed)
}

fn any<'w, 't>(words: &'w [&'t str]) -> Option<(bool, &'w [&'t str])> {
    let (mut allowed, mut rest) = all(words)?;
    while let Some(("OR", more)) = rest.split_first().map(|(word, more)| (*word, more)) {
        let (next, after) = all(more)?;
        (allowed, rest) = (allowed || next, after);
    }
    Some((allowed, rest))
}

fn all<'w, 't>(words: &'w [&'t str]) -> Option<(bool, &'w [&'t str])> {
    let (mut allowed, mut rest) = one(words)?;
    while let Some(("AND", more)) = rest.split_first().map(|(word, more)| (*word, more)) {
        let (next, after) = one(more)?;
        (allowed, rest) = (allowed && next, after);
    }
    Some((allowed, rest))
}

fn one<'w, 't>(words: &'w [&'t str]) -> Option<(bool, &'w [&'t str])> {
    let known = |licence: &str| ALLOWED.iter().any(|(name, _)| *name == licence);
    match words {
        ["(", inner @ ..] => {
            let (allowed, rest) = any(inner)?;
            Some((allowed, rest.strip_prefix(&[")"])?))
        }
        [")" | "AND" | "OR" | "WITH", ..] | [] => None,
        [name, "WITH", exception, rest @ ..] => Some((known(&format!("{name} WITH {exception}")), rest)),
        [name, rest @ ..] => Some((known(name), rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_allowed_licence_of_several_to_choose_from_is_enough() {
        for expression in
            ["MIT", "GPL-3.0 OR MIT", "LGPL-2.1-or-later/MIT", "Apache-2.0 WITH LLVM-exception OR GPL-2.0"]
        {
            assert_eq!(is_allowed(expression), Some(true), "{expression}");
        }
    }

    #[test]
    fn licences_that_hold_together_must_all_be_allowed() {
        assert_eq!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0"), Some(true));
        assert_eq!(is_allowed("MIT AND GPL-3.0"), Some(false));
        assert_eq!(is_allowed("MIT OR ISC AND GPL-3.0"), Some(true));
        assert_eq!(is_allowed("(MIT OR ISC) AND GPL-3.0"), Some(false));
        assert_eq!(is_allowed("MIT WITH LLVM-exception"), Some(false));
    }

    #[test]
    fn text_that_is_no_expression_is_found() {
        for expression in ["", "MIT OR", "(MIT", "MIT)", "MIT Apache-2.0"] {
            assert_eq!(is_allowed(expression), None, "{expression}");
        }
    }

    #[test]
    fn library_without_a_licence_is_found() {
        let library = Library { name: "a".to_owned(), version: "1.0.0".to_owned(), license: None };
        assert_eq!(finding(&library), Some("a 1.0.0 does not say its licence".to_owned()));
    }
}
