//! What a page points to exists: the targets of its links, with their headings, and the paths that it shows as code.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

use anyhow::Result;

use super::Finding;
use crate::workspace;

/// What a path begins with that is shown as code and meant from the root.
const FOLDERS: [&str; 4] = ["crates/", "deploy/", "proto/", "tests/"];

/// Follows every link of every page.
pub(super) fn check() -> Result<Vec<Finding>> {
    let files = workspace::files()?;
    let known: BTreeSet<&Path> = files.iter().flat_map(|file| file.ancestors()).collect();
    let mut findings = Vec::new();
    for page in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
        let text = workspace::read(page)?;
        for (line, target) in prose(&text).flat_map(|(line, text)| targets(text).map(move |it| (line, it))) {
            if let Some(problem) = broken(page, &target, &known)? {
                findings.push(format!("{}:{line} links to {target}, {problem}", page.display()));
            }
        }
        let missing = prose(&text).flat_map(|(line, text)| paths(text).map(move |path| (line, path)));
        let missing = missing.filter(|(_, path)| !known.contains(Path::new(path.trim_end_matches('/'))));
        findings.extend(
            missing.map(|(line, path)| format!("{}:{line} shows {path}, which does not exist", page.display())),
        );
    }
    Ok(findings)
}

/// The lines of a page that are not code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Where the links of a line lead.
pub(super) fn targets(line: &str) -> impl Iterator<Item = String> {
    line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
}

/// The paths from the root that a line shows as code, but for patterns such as `crates/NAME/src`.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    let spans = line.split('`').skip(1).step_by(2);
    spans.filter(|span| {
        FOLDERS.iter().any(|folder| span.starts_with(folder))
            && !span.contains([' ', '*', '{', '<'])
            && !span.contains("NAME")
    })
}

/// What is wrong with the target of a link; nothing where it leads out of the project.
fn broken(page: &Path, target: &str, known: &BTreeSet<&Path>) -> Result<Option<&'static str>> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(None);
    }
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let file = if file.is_empty() { page.to_path_buf() } else { resolve(page, file) };
    if !known.contains(file.as_path()) {
        return Ok(Some("which does not exist"));
    }
    let Some(heading) = heading else { return Ok(None) };
    let text = workspace::read(&file)?;
    let has = prose(&text).any(|(_, line)| line.starts_with('#') && anchor(line) == heading);
    Ok((!has).then_some("which has no such heading"))
}

/// A path that is relative to a page, from the root.
pub(super) fn resolve(page: &Path, target: &str) -> PathBuf {
    let mut path = page.parent().map(Path::to_path_buf).unwrap_or_default();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => _ = path.pop(),
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path
}

/// How a link names a heading: its words in lower case, with hyphens between them.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    text.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_in_prose_and_not_in_code() {
        let text = "[a](b.md) and [`c`](../d#e)\n```\n[x](y)\n```\n";
        let found: Vec<_> = prose(text).flat_map(|(line, text)| targets(text).map(move |it| (line, it))).collect();
        assert_eq!(found, [(1, "b.md".to_owned()), (1, "../d#e".to_owned())]);
    }

    #[test]
    fn link_to_what_does_not_exist_is_broken() {
        let known = BTreeSet::from([Path::new("crates/README.md"), Path::new("crates/a/b.rs"), Path::new("")]);
        let broken = |target| broken(Path::new("crates/README.md"), target, &known).expect("no file is read");
        assert_eq!(["a/b.rs", "../crates/a/b.rs", "..", "https://example.com/x"].map(broken), [None; 4]);
        assert_eq!(["b.rs", "../a/b.rs"].map(broken), [Some("which does not exist"); 2]);
    }

    #[test]
    fn heading_is_named_in_lower_case_with_hyphens() {
        assert_eq!(anchor("## With the cache, without it, past it"), "with-the-cache-without-it-past-it");
    }

    #[test]
    fn paths_shown_as_code_are_found_and_forms_are_not() {
        let line =
            "`proto/a.proto`, `crates/*/src`, `crates/NAME/src`, `accord-gateway`, `tests/`, `deploy/config --x`";
        assert_eq!(paths(line).collect::<Vec<_>>(), ["proto/a.proto", "tests/"]);
    }
}
