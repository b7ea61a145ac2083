//! A contract with many methods: services of a hundred each, every one with a binding and a policy, as a large company has them.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::stage;

const PER_SERVICE: u32 = 100;
const FILE: &str = "many.proto";
const POLICY: &str = r#"policy = { access = { authenticated = true }, deadline = { default = "10s", max = "60s" } }"#;

/// Files of such a contract.
pub(super) struct ManyMethods {
    /// The descriptors, those of what is called among them.
    pub descriptors: PathBuf,
    /// What holds for the many.
    pub overlay: PathBuf,
}

impl ManyMethods {
    /// Writes one with so many methods beside those that are called.
    pub(super) fn write(directory: &Path, count: u32) -> Result<Self> {
        let directory = directory.join(format!("methods-{count}"));
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(FILE), proto(count))?;
        let many = Self { descriptors: directory.join("many.binpb"), overlay: directory.join("overlay.toml") };
        stage::write_descriptors(&many.descriptors, Some((&directory, FILE)))?;
        fs::write(&many.overlay, overlay(count))?;
        Ok(many)
    }
}

fn proto(count: u32) -> String {
    let mut text = String::from("syntax = \"proto3\";\npackage many.v1;\n");
    text.push_str("import \"bench/v1/bench_service.proto\";\nimport \"google/api/annotations.proto\";\n");
    for service in 0..count.div_ceil(PER_SERVICE) {
        let _ = writeln!(text, "service Many{service}Service {{");
        for method in 0..PER_SERVICE.min(count - service * PER_SERVICE) {
            let _ = writeln!(
                text,
                "rpc Get{method}(bench.v1.GetItemRequest) returns (bench.v1.Item) {{ \
                 option (google.api.http) = {{get: \"/v1/many/{service}/{method}/{{id}}\"}}; }}"
            );
        }
        text.push_str("}\n");
    }
    text
}

fn overlay(count: u32) -> String {
    let rule = |service| format!("[[rule]]\nselector = \"many.v1.Many{service}Service/*\"\n{POLICY}\n");
    (0..count.div_ceil(PER_SERVICE)).map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proto_has_as_many_methods_as_are_asked_for() {
        for count in [10, 100, 250] {
            assert_eq!(proto(count).matches("rpc ").count(), count as usize);
        }
    }
}
