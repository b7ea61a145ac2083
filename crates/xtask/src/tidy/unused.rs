//! Dependencies that nothing uses: those of a package that its sources never name, and those of the workspace that no
//! package takes.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use toml::Table;

use super::Finding;
use crate::workspace::{self, Dependency, Package, Target};

/// Dependencies that only generated code names, by package.
const GENERATED: [(&str, &[&str]); 2] =
    [("accord-api", &["prost", "prost-types", "tonic-prost"]), ("accord-fabric", &["tonic-prost"])];

/// Looks for each dependency in the sources that it is for.
pub(super) fn check() -> Result<Vec<Finding>> {
    let (files, packages) = (workspace::files()?, workspace::packages()?);
    let mut findings = of_workspace(&workspace::read(Path::new("Cargo.toml"))?, &packages)?;
    for package in &packages {
        for dependency in package.dependencies.iter().filter(|it| !is_for_generated_code(package, it)) {
            let sources = sources(package, dependency, &files).map(workspace::read).collect::<Result<Vec<_>>>()?;
            if !sources.iter().any(|text| names(text, &dependency.identifier())) {
                findings.push(finding(package, dependency));
            }
        }
    }
    Ok(findings)
}

fn finding(package: &Package, dependency: &Dependency) -> Finding {
    let section = match &dependency.kind {
        Some(kind) => format!("{kind}-dependencies"),
        None => "dependencies".to_owned(),
    };
    format!("{} lists {} under [{section}], but nothing there names it: take it out", package.name, dependency.name)
}

fn is_for_generated_code(package: &Package, dependency: &Dependency) -> bool {
    GENERATED.iter().any(|(name, named)| package.name == *name && named.contains(&dependency.name.as_str()))
}

/// What stands in `[workspace.dependencies]` for nobody.
fn of_workspace(manifest: &str, packages: &[Package]) -> Result<Vec<Finding>> {
    let manifest: Table = toml::from_str(manifest).context("Cargo.toml is not TOML")?;
    let listed = manifest.get("workspace").and_then(|it| it.get("dependencies")).and_then(toml::Value::as_table);
    let taken: BTreeSet<_> = packages.iter().flat_map(|it| &it.dependencies).map(Dependency::key).collect();
    let unused = listed.into_iter().flat_map(Table::keys).filter(|name| !taken.contains(name.as_str()));
    Ok(unused
        .map(|name| format!("[workspace.dependencies] lists {name}, which no package takes: take it out"))
        .collect())
}

/// The files that a dependency is for. Unit tests lie among the sources, but are built from dev-dependencies as well.
fn sources<'a>(package: &Package, dependency: &Dependency, files: &'a [PathBuf]) -> impl Iterator<Item = &'a Path> {
    let kind = dependency.kind.clone().unwrap_or_default();
    let roots: Vec<_> = package.targets.iter().filter(|it| it.is_built_for(&kind)).map(Target::sources).collect();
    let is_rust = |file: &Path| file.extension().is_some_and(|extension| extension == "rs");
    let is_test = |file: &Path| file.components().any(|it| it.as_os_str() == "tests" || it.as_os_str() == "tests.rs");
    let is_for = move |file: &Path| {
        let below = roots.iter().filter_map(|root| file.strip_prefix(root).ok());
        below.into_iter().any(|below| kind == "dev" || !is_test(below))
    };
    files.iter().map(PathBuf::as_path).filter(move |file| is_rust(file) && is_for(file))
}

/// Whether a source names a crate: at the beginning of a path, or in the text that an attribute takes for one.
fn names(source: &str, name: &str) -> bool {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.match_indices(name).map(move |(at, _)| line.split_at(at))).any(|(before, rest)| {
        let after = &rest[name.len()..];
        let begins = !before.ends_with(|last: char| last.is_alphanumeric() || ['_', '.'].contains(&last))
            && (!before.ends_with(':') || before.ends_with(" ::") || before.ends_with("(::"));
        let is_text = before.ends_with('"') && after.starts_with('"');
        let is_import = before.trim_end().ends_with("use") && (after.starts_with(';') || after.starts_with(" as "));
        begins && (after.starts_with("::") || is_text || is_import)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crate_is_named_by_paths_imports_and_attributes() {
        let sources =
            ["use serde_x::de;", "#[serde(with = \"serde_x\")]", "use a::b;\n  serde_x::f(1);", "use serde_x as x;"];
        for source in sources {
            assert!(names(source, "serde_x"), "{source}");
        }
    }

    #[test]
    fn crate_is_not_named_by_comments_parts_of_words_or_modules() {
        for source in
            ["// serde_x::de", "use my_serde_x::a;", "crate::serde_x::f();", "self.serde_x::<u8>()", "serde_xy::z"]
        {
            assert!(!names(source, "serde_x"), "{source}");
        }
    }

    #[test]
    fn dependency_of_the_workspace_that_no_package_takes_is_found() {
        let manifest = "[workspace.dependencies]\nbytes = \"1\"\nhttp = \"1\"\n";
        let bytes = Dependency { name: "bytes".to_owned(), rename: None, kind: None };
        let package = Package {
            name: "shop".to_owned(),
            manifest_path: PathBuf::new(),
            dependencies: vec![bytes],
            targets: Vec::new(),
        };
        let found = of_workspace(manifest, &[package]).expect("the test's text is TOML");
        assert_eq!(found, ["[workspace.dependencies] lists http, which no package takes: take it out"]);
    }

    #[test]
    fn dependency_for_tests_alone_is_not_used_by_the_sources() {
        let target = Target {
            name: "shop".to_owned(),
            kind: vec!["lib".to_owned()],
            src_path: workspace::root().join("crates/shop/src/lib.rs"),
            test: true,
        };
        let (lib, tests) = (PathBuf::from("crates/shop/src/lib.rs"), PathBuf::from("crates/shop/src/a/tests.rs"));
        let package = Package {
            name: "shop".to_owned(),
            manifest_path: PathBuf::new(),
            dependencies: Vec::new(),
            targets: vec![target],
        };
        let files = [lib.clone(), tests.clone()];
        let looked = |kind: Option<&str>| {
            let dependency = Dependency { name: "bytes".to_owned(), rename: None, kind: kind.map(str::to_owned) };
            sources(&package, &dependency, &files).map(Path::to_path_buf).collect::<Vec<_>>()
        };
        assert_eq!(looked(Some("dev")), [lib.clone(), tests]);
        assert_eq!(looked(None), [lib]);
    }
}
