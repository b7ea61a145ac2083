//! The direction of dependencies: the binaries meet in the contract only, and nothing that is shared knows one of them.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Finding;
use crate::workspace;

/// Which members a member may depend on. One that is not listed may depend on none.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("accord-contract", &["accord-api"]),
    ("accord-runtime", &["accord-api"]),
    ("accord-token", &["accord-api", "accord-runtime"]),
    (
        "accord-gateway",
        &["accord-api", "accord-contract", "accord-runtime", "accord-token"],
    ),
    ("accord-auth", &["accord-api", "accord-runtime", "accord-token"]),
    ("accord-cache", &["accord-api", "accord-runtime", "accord-token"]),
    ("accord-catalog", &["accord-api", "accord-runtime", "accord-token"]),
    // The fabric starts the binaries as processes: it sees what any client sees.
    ("accord-fabric", &["accord-api"]),
    ("xtask", &["accord-fabric"]),
];

/// Libraries that would be in the tree twice, or beside another that does the same, if nobody looked.
const ONE_VERSION: [&str; 6] = ["tonic", "prost", "hyper", "rustls", "tower-http", "aws-lc-rs"];
const BANNED: [(&str, &str); 3] = [
    ("ring", "aws-lc-rs is the one provider of cryptography"),
    ("openssl", "rustls is the one TLS stack"),
    ("native-tls", "rustls is the one TLS stack"),
];

/// Compares the members' dependencies and the lock file with the rules.
pub fn check() -> Result<Vec<Finding>> {
    let mut findings = direction(&workspace::packages()?);
    let lock = fs::read_to_string(workspace::root().join("Cargo.lock")).context("Cargo.lock could not be read")?;
    findings.extend(versions(&lock)?);
    Ok(findings)
}

fn direction(packages: &[workspace::Package]) -> Vec<Finding> {
    let allowed: BTreeMap<_, _> = ALLOWED.into_iter().collect();
    let is_member = |name: &str| packages.iter().any(|package| package.name == name);
    let mut findings = Vec::new();
    for package in packages {
        let may = allowed.get(package.name.as_str()).copied().unwrap_or_default();
        for dependency in package.dependencies.iter().map(|dependency| dependency.name.as_str()) {
            if is_member(dependency) && dependency != package.name && !may.contains(&dependency) {
                let may = if may.is_empty() {
                    "no other member".to_owned()
                } else {
                    may.join(", ")
                };
                findings.push(format!(
                    "{} depends on {dependency}; it may depend on {may}",
                    package.name
                ));
            }
        }
    }
    findings
}

fn versions(lock: &str) -> Result<Vec<Finding>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Locked>,
    }
    #[derive(Deserialize)]
    struct Locked {
        name: String,
        version: String,
    }
    let Lock { package: locked } = toml::from_str(lock).context("Cargo.lock is in an unknown form")?;
    let versions_of = |name: &str| -> Vec<&str> {
        locked
            .iter()
            .filter(|package| package.name == name)
            .map(|package| package.version.as_str())
            .collect()
    };
    let mut findings = Vec::new();
    for name in ONE_VERSION {
        let versions = versions_of(name);
        if versions.len() > 1 {
            findings.push(format!(
                "{name} is in the tree in several versions: {}",
                versions.join(", ")
            ));
        }
    }
    for (name, reason) in BANNED {
        if !versions_of(name).is_empty() {
            findings.push(format!(
                "{name} is in the tree, but {reason}; `cargo tree --invert {name}` says why"
            ));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::{direction, versions};
    use crate::workspace::{Dependency, Package};

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|name| Dependency {
                name: (*name).to_owned(),
            })
            .collect();
        Package {
            name: name.to_owned(),
            dependencies,
            targets: Vec::new(),
        }
    }

    #[test]
    fn a_binary_never_depends_on_another() {
        let members = [
            package("accord-gateway", &["accord-auth", "tokio"]),
            package("accord-auth", &["accord-token"]),
        ];
        let findings = direction(&members);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].starts_with("accord-gateway depends on accord-auth;"),
            "{findings:?}"
        );
    }

    #[test]
    fn a_member_without_a_rule_stands_alone() {
        let members = [package("accord-new", &["accord-api"]), package("accord-api", &[])];
        assert_eq!(
            direction(&members),
            ["accord-new depends on accord-api; it may depend on no other member"]
        );
    }

    #[test]
    fn a_second_version_and_a_banned_library_are_found() {
        let lock = "[[package]]\nname = \"prost\"\nversion = \"0.13.0\"\n\
                    [[package]]\nname = \"prost\"\nversion = \"0.14.4\"\n\
                    [[package]]\nname = \"ring\"\nversion = \"0.17.0\"\n";
        let findings = versions(lock).expect("the lock file is well formed");
        assert_eq!(findings.len(), 2, "{findings:?}");
    }
}
