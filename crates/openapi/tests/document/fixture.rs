//! Documents of contracts that are written out.

use std::path::Path;

use accord_contract::{Contract, Overlay, Source, refused};
use accord_openapi::Surroundings;
use serde_json::Value;

const PUBLIC: &str = "[[rule]]\nselector = \"shop.v1.Shop/*\"\npolicy = { access = { public = true } }\n";

/// The shop, open to everybody, with another rule for it where there is one.
pub(crate) fn shop(rule: &str) -> Value {
    document(&[source("shop", include_str!("shop.proto"))], &format!("{PUBLIC}{rule}"))
}

/// A rule for one method of the shop.
pub(crate) fn rule(method: &str, policy: &str) -> String {
    format!("[[rule]]\nselector = \"shop.v1.Shop/{method}\"\npolicy = {policy}\n")
}

/// An upstream with one proto.
pub(crate) fn source(upstream: &str, proto: &str) -> Source {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("shop.proto"), proto).unwrap();
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut compiler = protox::Compiler::new([directory.path(), &protos]).unwrap();
    compiler.include_imports(true).include_source_info(true);
    let set = compiler.open_file("shop.proto").unwrap().encode_file_descriptor_set();
    Source::descriptor_set(upstream, upstream, &set).unwrap()
}

/// The document of some upstreams under an overlay.
pub(crate) fn document(sources: &[Source], overlay: &str) -> Value {
    document_with(sources, overlay, false)
}

/// The shop, which may be called with a certificate, with another rule for it.
pub(crate) fn shop_over_mutual_tls(rule: &str) -> Value {
    document_with(&[source("shop", include_str!("shop.proto"))], &format!("{PUBLIC}{rule}"), true)
}

fn document_with(sources: &[Source], overlay: &str, mutual_tls: bool) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("overlay.toml");
    std::fs::write(&file, overlay).unwrap();
    let overlay = Overlay::file(&file).unwrap_or_else(|findings| panic!("{findings:?}"));
    let (contract, findings) = Contract::load(sources, &[overlay]);
    assert!(!refused(&findings), "{findings:?}");
    let surroundings = Surroundings { title: "Shop", version: "1", mutual_tls };
    accord_openapi::document(&contract, surroundings, |_, _| true)
}

/// The parameter of an operation by its name.
pub(crate) fn parameter<'d>(operation: &'d Value, name: &str) -> &'d Value {
    let parameters = operation["parameters"].as_array().unwrap();
    parameters.iter().find(|parameter| parameter["name"] == name).unwrap_or(&Value::Null)
}
