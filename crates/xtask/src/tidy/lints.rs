//! What the compiler and clippy refuse, they refuse everywhere: every package takes the workspace's lints, and the ones that
//! the house counts on are there. `.ci/run` denies their warnings, so none of them is looked for a second time here.

use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Finding;
use crate::workspace;

/// Lints of rustc that must be on, and what for.
const COUNTED_ON: [(&str, &str); 3] = [
    ("unsafe_code", "there is no unsafe code"),
    ("missing_docs", "public items say what they are"),
    ("unreachable_pub", "nothing is `pub` that no other crate can reach"),
];

/// Reads every manifest.
pub(super) fn check() -> Result<Vec<Finding>> {
    let mut findings = of_workspace(&workspace::read(Path::new("Cargo.toml"))?)?;
    for package in workspace::packages()? {
        let manifest = workspace::read(&package.manifest_path)?;
        if !inherits(&manifest).with_context(|| format!("the manifest of {}", package.name))? {
            findings
                .push(format!("{} does not say `[lints] workspace = true`, so that no lint holds in it", package.name));
        }
    }
    Ok(findings)
}

fn of_workspace(manifest: &str) -> Result<Vec<Finding>> {
    let manifest: Table = toml::from_str(manifest).context("Cargo.toml is not TOML")?;
    let lints = manifest.get("workspace").and_then(|it| it.get("lints")).and_then(|it| it.get("rust"));
    let level = |lint| lints.and_then(|it| it.get(lint)).and_then(Value::as_str).unwrap_or("allow");
    let off = COUNTED_ON.iter().filter(|(lint, _)| level(lint) == "allow");
    Ok(off.map(|(lint, reason)| format!("[workspace.lints.rust] leaves {lint} off: {reason}")).collect())
}

fn inherits(manifest: &str) -> Result<bool> {
    let manifest: Table = toml::from_str(manifest)?;
    Ok(manifest.get("lints").and_then(|it| it.get("workspace")).and_then(Value::as_bool) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lint_that_is_off_is_found() {
        let manifest = "[workspace.lints.rust]\nunsafe_code = \"forbid\"\nmissing_docs = \"warn\"\n";
        let found = of_workspace(manifest).expect("the test's text is TOML");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("[workspace.lints.rust] leaves unreachable_pub off"), "{found:?}");
    }

    #[test]
    fn package_inherits_lints_only_where_it_says_so() {
        assert!(inherits("[lints]\nworkspace = true\n").expect("the test's text is TOML"));
        assert!(!inherits("[lints.rust]\nunsafe_code = \"forbid\"\n").expect("the test's text is TOML"));
    }
}
