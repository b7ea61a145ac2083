//! What stands where: at the top level only what everybody looks for there, and the pages that somebody reads who runs
//! Accord or builds on it in one place.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::Finding;
use crate::workspace;

/// What stands at the top level, beside files whose names begin with a dot.
const TOP_LEVEL: [&str; 9] =
    ["Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "buf.yaml", "crates", "deploy", "proto", "tests"];

/// Where the pages for operators and users are.
const GUIDE: &str = "deploy/guide";

/// Compares the places of the files that git has with the rules.
pub(super) fn check() -> Result<Vec<Finding>> {
    Ok(misplaced(&workspace::tracked_files()?))
}

fn misplaced(files: &[PathBuf]) -> Vec<Finding> {
    let tops: BTreeSet<_> = files.iter().filter_map(|file| file.iter().next()?.to_str()).collect();
    let strangers = tops.into_iter().filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(name));
    let strangers = strangers.map(|name| format!("{name} stands at the top level: {} do", TOP_LEVEL.join(", ")));
    let pages = files.iter().filter(|file| is_page(file) && !file.starts_with(GUIDE));
    strangers.chain(pages.map(|page| format!("{} is a page, which stands under {GUIDE}/", page.display()))).collect()
}

/// Whether somebody opens it for its own sake; a README says what is in its folder.
fn is_page(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "md")
        && file.file_name().is_some_and(|name| name != "README.md")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str) -> usize {
        misplaced(&[PathBuf::from(file)]).len()
    }

    #[test]
    fn strangers_at_the_top_level_are_found() {
        assert_eq!(["rustfmt.toml", "docs/a.txt", "NOTES"].map(found), [1, 1, 1]);
        assert_eq!([".rustfmt.toml", ".ci/run", "Cargo.lock", "proto/a.proto"].map(found), [0, 0, 0, 0]);
    }

    #[test]
    fn pages_outside_the_guide_are_found() {
        assert_eq!(["deploy/operations.md", "crates/gateway/errors.md"].map(found), [1, 1]);
        assert_eq!(["deploy/guide/operations.md", "crates/README.md"].map(found), [0, 0]);
    }
}
