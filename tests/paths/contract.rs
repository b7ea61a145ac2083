//! The contract of a row: the same handler once without `cache` and once with it, under the same policy.

use crate::upstream::Upstream;
use accord_fabric::Builder;
use anyhow::Result;
use protox::file::{File, FileResolver};
use std::{fs, path::Path};
use tempfile::TempDir;

/// A service that has never heard of Accord.
const PROTO: &str = r#"
    syntax = "proto3";
    package PACKAGE;
    service PathService {
      rpc Plain(Word) returns (Word);
      rpc Cached(Word) returns (Word);
      rpc Change(Word) returns (Word);
    }
    message Word { string text = 1; }
    message Note { string text = 1; }
"#;

/// What holds for it. `POLICY` is what a row adds for all of its methods.
const OVERLAY: &str = r#"
[[rule]]
selector = "PACKAGE.PathService/*"
policy = { access = { public = true }, deadline = { default = "10s", max = "30s" }POLICY }

[[rule]]
selector = "PACKAGE.PathService/Plain"
idempotency_level = "NO_SIDE_EFFECTS"

[[rule]]
selector = "PACKAGE.PathService/Cached"
idempotency_level = "NO_SIDE_EFFECTS"

[rule.policy.cache]
ttl = "60s"
scope = "CACHE_SCOPE_SHARED"
tags = ["word/{text}"]
vary = ["x-vary"]
keep_headers = ["x-kept", "x-kept-bin"]
max_bytes = 16777216

[[rule]]
selector = "PACKAGE.PathService/Change"
idempotency_level = "IDEMPOTENT"
policy = { invalidates = ["word/{text}"] }
"#;

/// The package of a row's service.
pub(crate) fn package(row: &str) -> String {
    format!("{row}.v1")
}

/// Puts a row's upstream behind the gateway, with its contract in files of this directory.
pub(crate) fn put_behind(
    builder: Builder,
    directory: &TempDir,
    row: &str,
    policy: &str,
    connections: u32,
    upstream: &Upstream,
) -> Result<Builder> {
    let file = |extension: &str| directory.path().join(row).with_extension(extension);
    write_descriptors(row, &file("binpb"))?;
    let policy = if policy.is_empty() { String::new() } else { format!(", {policy}") };
    fs::write(file("toml"), OVERLAY.replace("PACKAGE", &package(row)).replace("POLICY", &policy))?;
    let descriptors = file("binpb").display().to_string();
    let settings = toml::toml! {
        descriptors = descriptors
        connections = connections
    };
    let builder = builder.overlay(file("toml")).upstream_settings(row, settings);
    Ok(upstream.urls().fold(builder, |builder, url| builder.upstream(row, &url)))
}

/// Writes the descriptor set of a row's service.
fn write_descriptors(row: &str, path: &Path) -> Result<()> {
    let source = ProtoFile { name: format!("{row}.proto"), text: PROTO.replace("PACKAGE", &package(row)) };
    let mut compiler = protox::Compiler::with_file_resolver(source);
    let descriptors = compiler.include_imports(true).open_file(format!("{row}.proto"))?.encode_file_descriptor_set();
    Ok(fs::write(path, descriptors)?)
}

/// A file in memory.
struct ProtoFile {
    name: String,
    text: String,
}

impl FileResolver for ProtoFile {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == self.name { File::from_source(name, &self.text) } else { Err(protox::Error::file_not_found(name)) }
    }
}
