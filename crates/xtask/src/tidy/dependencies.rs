//! The direction of dependencies: the binaries meet in the contract only, and nothing that is shared knows one of them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::{
    Finding,
    graph::{self, Graph},
};
use crate::workspace;

/// Which members a member may depend on. One that is not listed may depend on none.
const ALLOWED: [(&str, &[&str]); 21] = [
    ("accord-contract", &["accord-api", "accord-wire"]),
    ("accord-transcode", &["accord-contract", "accord-wire"]),
    ("accord-validation", &["accord-wire"]),
    ("accord-readthrough", &["accord-metric", "accord-wire"]),
    ("accord-openapi", &["accord-api", "accord-contract", "accord-transcode"]),
    (
        "accord-runtime",
        &["accord-api", "accord-metric", "accord-test-certificates", "accord-test-log", "accord-test-spiffe"],
    ),
    ("accord-store", &["accord-test-certificates"]),
    ("accord-test-spiffe", &["accord-api", "accord-test-certificates"]),
    (
        "accord-mesh",
        &["accord-api", "accord-contract", "accord-metric", "accord-runtime", "accord-token", "accord-upstream"],
    ),
    ("accord-redis", &["accord-runtime"]),
    (
        "accord-upstream",
        &[
            "accord-api",
            "accord-metric",
            "accord-runtime",
            "accord-test-certificates",
            "accord-test-dns",
            "accord-test-kubernetes",
            "accord-test-log",
            "accord-wire",
        ],
    ),
    (
        "accord-gateway",
        &[
            "accord-api",
            "accord-contract",
            "accord-mesh",
            "accord-metric",
            "accord-openapi",
            "accord-readthrough",
            "accord-redis",
            "accord-runtime",
            "accord-test-log",
            "accord-token",
            "accord-transcode",
            "accord-upstream",
            "accord-validation",
            "accord-wire",
        ],
    ),
    (
        "accord-auth",
        &[
            "accord-api",
            "accord-contract",
            "accord-mesh",
            "accord-metric",
            "accord-runtime",
            "accord-store",
            "accord-test-kubernetes",
            "accord-token",
        ],
    ),
    (
        "accord-cache",
        &[
            "accord-api",
            "accord-contract",
            "accord-mesh",
            "accord-metric",
            "accord-readthrough",
            "accord-redis",
            "accord-runtime",
            "accord-store",
            "accord-test-certificates",
            "accord-token",
            "accord-upstream",
            "accord-wire",
        ],
    ),
    ("accord-catalog", &["accord-api", "accord-contract", "accord-mesh", "accord-runtime", "accord-store"]),
    (
        "accord-orders",
        &["accord-api", "accord-contract", "accord-mesh", "accord-runtime", "accord-store", "accord-token"],
    ),
    // What a verifier spends is measured in a process that does nothing else.
    ("accord-bench", &["accord-mesh", "accord-runtime"]),
    // What they allocate is counted in their own processes.
    ("accord-counted", &["accord-cache", "accord-gateway", "accord-runtime"]),
    (
        "accord-fuzz",
        &["accord-api", "accord-contract", "accord-gateway", "accord-runtime", "accord-transcode", "accord-upstream"],
    ),
    // The fabric starts the binaries as processes: it sees what any client sees.
    (
        "accord-fabric",
        &["accord-api", "accord-test-certificates", "accord-test-dns", "accord-test-kubernetes", "accord-test-spiffe"],
    ),
    // Tokens are held to vectors that are not in the repository, and the examples of help to what the binaries' are held to.
    ("xtask", &["accord-api", "accord-fabric", "accord-runtime", "accord-test-certificates", "accord-token"]),
];

/// Libraries that would be in the tree twice, or beside another that does the same, if nobody looked.
const ONE_VERSION: [&str; 6] = ["tonic", "prost", "hyper", "rustls", "tower-http", "aws-lc-rs"];
const BANNED: [(&str, &str); 3] = [
    ("ring", "aws-lc-rs is the one provider of cryptography"),
    ("openssl", "rustls is the one TLS stack"),
    ("native-tls", "rustls is the one TLS stack"),
];

/// Libraries that a member must do without, in what it is built and tested from, and why.
const WITHOUT: [(&str, &str, &str); 3] = [
    (
        "accord-readthrough",
        "tonic",
        "the engine takes its transport as a parameter, so that the cache service and the simulation run the same one",
    ),
    ("accord-token", "tonic", PURE_TOKENS),
    ("accord-token", "tokio", PURE_TOKENS),
];

const PURE_TOKENS: &str = "a service of any make must be able to verify passports with it, on any runtime or none";

/// Compares the members' dependencies, and what they bring along, with the rules.
pub(super) fn check() -> Result<Vec<Finding>> {
    let packages = workspace::packages()?;
    let mut findings = direction(&packages);
    findings.extend(circles(&packages));
    // The lock file would also list what no feature switches on.
    let tree = ["tree", "--workspace", "--all-features", "--prefix", "none", "--format", "{p}"];
    findings.extend(versions(&workspace::output(env!("CARGO"), &tree)?));
    for (member, library, reason) in WITHOUT {
        let tree = ["tree", "--package", member, "--all-features", "--edges", "normal,dev", "--prefix", "none"];
        let tree = workspace::output(env!("CARGO"), &[&tree[..], &["--format", "{p}"]].concat())?;
        findings.extend(brings(&tree, member, library, reason));
    }
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
                let may = if may.is_empty() { "no other member".to_owned() } else { may.join(", ") };
                findings.push(format!("{} depends on {dependency}; it may depend on {may}", package.name));
            }
        }
    }
    findings
}

/// Members that depend on each other, be it for their tests alone: cargo lets those pass.
fn circles(packages: &[workspace::Package]) -> Vec<Finding> {
    let names = |package: &workspace::Package| package.dependencies.iter().map(|it| it.name.clone()).collect();
    let graph: Graph = packages.iter().map(|package| (package.name.clone(), names(package))).collect();
    let name = |circle: BTreeSet<String>| circle.into_iter().collect::<Vec<_>>().join(", ");
    graph::circles(&graph)
        .into_iter()
        .map(|it| format!("these depend on each other in a circle: {}", name(it)))
        .collect()
}

/// Reads lines of a name and a version; what follows them, and how often a line comes, says nothing.
fn versions(tree: &str) -> Vec<Finding> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions.entry(name).or_default().insert(version);
        }
    }
    let mut findings = Vec::new();
    for name in ONE_VERSION {
        if let Some(several) = versions.get(name).filter(|versions| versions.len() > 1) {
            findings.push(format!("{name} is in the tree in several versions: {several:?}"));
        }
    }
    for (name, reason) in BANNED {
        if versions.contains_key(name) {
            findings.push(format!("{name} is in the tree, but {reason}; `cargo tree --invert {name}` says why"));
        }
    }
    findings
}

/// Whether a member's tree, of which each line begins with a name, has a library that it must do without.
fn brings(tree: &str, member: &str, library: &str, reason: &str) -> Option<Finding> {
    let found = tree.lines().any(|line| line.split_whitespace().next() == Some(library));
    found.then(|| {
        let way = format!("`cargo tree --package {member} --edges normal,dev --invert {library}` shows the way");
        format!("{member} brings {library} along, but {reason}; {way}")
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{brings, circles, direction, versions};
    use crate::workspace::{Dependency, Package};

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies =
            dependencies.iter().map(|name| Dependency { name: (*name).to_owned(), rename: None, kind: None }).collect();
        Package { name: name.to_owned(), manifest_path: PathBuf::new(), dependencies, targets: Vec::new() }
    }

    #[test]
    fn dependency_of_a_binary_on_another_is_found() {
        let members = [package("accord-gateway", &["accord-auth", "tokio"]), package("accord-auth", &["accord-token"])];
        let findings = direction(&members);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].starts_with("accord-gateway depends on accord-auth;"), "{findings:?}");
    }

    #[test]
    fn members_that_depend_on_each_other_are_found() {
        let members = [package("a", &["b", "tokio"]), package("b", &["c"]), package("c", &["a"]), package("d", &["a"])];
        assert_eq!(circles(&members), ["these depend on each other in a circle: a, b, c"]);
        assert!(circles(&members[1..]).is_empty());
    }

    #[test]
    fn member_without_a_rule_may_depend_on_no_other() {
        let members = [package("accord-new", &["accord-api"]), package("accord-api", &[])];
        assert_eq!(direction(&members), ["accord-new depends on accord-api; it may depend on no other member"]);
    }

    #[test]
    fn second_version_and_banned_library_are_found() {
        let tree = "accord-api v0.1.0 (/somewhere)\nprost v0.13.0\nprost v0.14.4\nprost v0.14.4 (*)\nring v0.17.0\n";
        let findings = versions(tree);
        assert_eq!(findings.len(), 2, "{findings:?}");
    }

    #[test]
    fn library_that_a_member_must_do_without_is_found_with_the_reason() {
        let tree = "accord-readthrough v0.1.0 (/somewhere)\ntonic-types v0.14.9\n";
        let looked = |tree: &str| brings(tree, "accord-readthrough", "tonic", "it knows no transport");
        assert_eq!(looked(tree), None);
        let finding = looked(&format!("{tree}tonic v0.14.9 (*)\n")).expect("tonic is in the tree");
        assert!(finding.starts_with("accord-readthrough brings tonic along, but it knows no transport;"), "{finding}");
    }
}
