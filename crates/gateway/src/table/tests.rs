use std::path::Path;

use accord_test_log::Log;
use accord_upstream::VersionConfig;

use super::*;
use crate::config::{Config, UpstreamConfig};
use crate::reflect;

pub(crate) const GET: &str = "/catalog.v1.ProductService/GetProduct";

/// The sample behind one upstream, with an overlay file that says nothing yet.
pub(crate) struct Sample {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) config: Config,
}

impl Sample {
    pub(crate) fn new(with_descriptors: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("catalog.binpb"), accord_api::FILE_DESCRIPTOR_SET).unwrap();
        std::fs::write(at("overlay.toml"), "").unwrap();
        let mut config = Config::default();
        config.contract.overlays.push(at("overlay.toml"));
        config.upstream.push(UpstreamConfig {
            name: "catalog".to_owned(),
            urls: vec!["http://127.0.0.1:1".to_owned()],
            descriptors: with_descriptors.then(|| at("catalog.binpb")),
            ..UpstreamConfig::default()
        });
        Self { directory, config }
    }

    /// With another version of its upstream.
    pub(crate) fn with_version(mut self, name: &str, weight: u32, header: (&str, &str)) -> Self {
        self.config.upstream[0].version.push(VersionConfig {
            name: name.to_owned(),
            urls: vec!["http://127.0.0.1:2".to_owned()],
            weight,
            headers: [(header.0.to_owned(), header.1.to_owned())].into(),
        });
        self
    }

    pub(crate) async fn open(&self) -> Arc<Tables> {
        let upstreams = Upstream::all(&self.config.upstream, &self.config.discovery).unwrap();
        let sources = Sources::gather(&self.config, &upstreams).await.unwrap();
        Tables::open(&Arc::new(self.config.clone()), sources, &upstreams).unwrap()
    }

    pub(crate) fn descriptors(&self, set: &[u8]) {
        std::fs::write(self.directory.path().join("catalog.binpb"), set).unwrap();
    }

    pub(crate) fn overlay(&self, text: &str) {
        std::fs::write(self.directory.path().join("overlay.toml"), text).unwrap();
    }
}

/// The table of one upstream with these descriptors.
pub(crate) async fn of_descriptors(set: &[u8]) -> Arc<MethodTable> {
    let sample = Sample::new(true);
    sample.descriptors(set);
    sample.open().await.load()
}

/// The descriptors of a proto that is written out, with what it imports.
pub(crate) fn compiled(proto: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("echo.proto"), proto).unwrap();
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut compiler = protox::Compiler::new([directory.path(), &protos]).unwrap();
    compiler.include_imports(true).open_file("echo.proto").unwrap().encode_file_descriptor_set()
}

fn overlay(policy: &str) -> String {
    format!("[[rule]]\nselector = \"catalog.v1.ProductService/GetProduct\"\npolicy = {policy}\n")
}

#[tokio::test]
async fn method_is_found_by_grpc_path_and_by_http_binding() {
    let table = Sample::new(true).open().await.load();
    let entry = table.grpc(GET).unwrap();
    assert_eq!(&*entry.method.name, &GET[1..]);
    assert_eq!(entry.path, GET);
    assert_eq!(&**entry.upstream.name(), "catalog");
    assert!(entry.method.is_read);

    let found = table.http(&http::Method::GET, "/v1/products/tea%20cup").unwrap();
    assert!(Arc::ptr_eq(&found.entry, entry));
    assert_eq!(found.variables, ["tea cup"]);
    assert_eq!(table.http(&http::Method::GET, "/v2/products").err(), Some(NoMatch::NotFound));
    assert!(table.grpc("/catalog.v1.ProductService/Get").is_none());
    assert!(!table.is_pending());
}

#[tokio::test]
async fn reload_applies_overlay_and_keeps_counts_of_unchanged_limits() {
    let sample = Sample::new(true);
    let tables = sample.open().await;
    let before = tables.load();
    let mut changed = tables.subscribe();

    sample.overlay(&overlay("{ deadline = { default = \"1s\" } }"));
    tables.reload_files();

    assert!(changed.has_changed().unwrap());
    changed.mark_unchanged();
    let (old, new) = (before.grpc(GET).unwrap(), tables.load());
    let new = new.grpc(GET).unwrap();
    assert_eq!(new.method.policy.deadline.default.as_secs(), 1);
    assert_eq!(old.method.policy.deadline.default.as_secs(), 2);
    assert!(Arc::ptr_eq(&old.rates, &new.rates));
    let budget = |entry: &MethodEntry| Arc::clone(&entry.retries.as_ref().unwrap().budget);
    assert!(Arc::ptr_eq(&budget(old), &budget(new)));
}

#[tokio::test]
async fn reload_of_invalid_contract_keeps_the_previous_one() {
    let sample = Sample::new(true);
    let tables = sample.open().await;
    let before = tables.load();
    for bad in [overlay("{ deadline = { default = \"1h\", max = \"1s\" } }"), "[[rule]]\nselector = 3\n".to_owned()] {
        sample.overlay(&bad);
        tables.reload_files();
        assert!(Arc::ptr_eq(&before, &tables.load()));
    }

    // The refused change left nothing behind: the next good one is taken.
    sample.overlay("");
    tables.reload_files();
    assert!(!Arc::ptr_eq(&before, &tables.load()));
}

/// A service whose methods no layer says who may call, which is a warning.
pub(crate) fn undeclared_service() -> Vec<u8> {
    compiled(
        "syntax = \"proto3\"; package echo.v1; message Words {} service EchoService { rpc Say(Words) returns (Words); }",
    )
}

#[tokio::test]
async fn refused_reload_logs_its_errors_alone() {
    let sample = Sample::new(true);
    let tables = sample.open().await;
    std::fs::write(sample.directory.path().join("catalog.binpb"), undeclared_service()).unwrap();
    sample.overlay("[[rule]]\nselector = \"echo.v1.EchoServce/*\"\nidempotency_level = \"IDEMPOTENT\"\n");

    let log = Log::default();
    let guard = log.start();
    tables.reload_files();
    drop(guard);
    assert_eq!(log.count("contract reload refused"), 1, "{}", log.text());
    assert!(log.count("echo.v1.EchoServce") > 0 && log.count("access") == 0, "{}", log.text());
}

#[tokio::test]
async fn invalid_contract_at_start_is_refused_with_a_line_for_each_reason() {
    let sample = Sample::new(true);
    sample.overlay(&(overlay("{ deadline = { default = \"-1s\" } }") + "[[rule]]\nselector = \"ghost.v1.*\"\n"));
    let upstreams = Upstream::all(&sample.config.upstream, &sample.config.discovery).unwrap();
    let gathered = Sources::gather(&sample.config, &upstreams).await;
    let refused = gathered.and_then(|sources| sources.build()).err().unwrap();
    assert!(!refused.reasons().is_empty());
    assert!(refused.reasons().iter().all(|reason| !reason.contains('\n')), "{refused}");
}

#[tokio::test]
async fn missing_descriptor_file_is_named() {
    let mut sample = Sample::new(true);
    sample.config.upstream[0].descriptors = Some(Path::new("nowhere.binpb").to_owned());
    let upstreams = Upstream::all(&sample.config.upstream, &sample.config.discovery).unwrap();
    let refused = Sources::gather(&sample.config, &upstreams).await.err().unwrap();
    assert!(refused.reasons()[0].contains("nowhere.binpb"), "{refused}");
}

#[tokio::test]
async fn upstream_without_descriptors_is_pending_until_reflection_answers() {
    let sample = Sample::new(false);
    let tables = sample.open().await;
    assert!(tables.load().is_pending());
    assert!(tables.load().grpc(GET).is_none());

    reflect_catalog(&tables, &["catalog.v1.ProductService"]);
    let table = tables.load();
    assert!(!table.is_pending());
    assert!(table.grpc(GET).is_some());
    assert_eq!(table.services().into_iter().collect::<Vec<_>>(), ["catalog.v1.ProductService"]);

    // The same again is no news.
    reflect_catalog(&tables, &["catalog.v1.ProductService"]);
    assert!(Arc::ptr_eq(&table, &tables.load()));
}

#[tokio::test]
async fn upstreams_share_a_descriptor_set_by_naming_their_services() {
    let mut sample = Sample::new(true);
    let mut second = UpstreamConfig { name: "keys".to_owned(), ..sample.config.upstream[0].clone() };
    second.services = vec!["accord.auth.v1.KeyService".to_owned()];
    sample.config.upstream[0].services = vec!["catalog.v1.ProductService".to_owned()];
    sample.config.upstream.push(second);
    let table = sample.open().await.load();
    assert_eq!(table.services_of("catalog").into_iter().collect::<Vec<_>>(), ["catalog.v1.ProductService"]);
    assert_eq!(table.services_of("keys").into_iter().collect::<Vec<_>>(), ["accord.auth.v1.KeyService"]);
}

#[tokio::test]
async fn named_services_count_in_place_of_those_that_reflection_lists() {
    let mut sample = Sample::new(false);
    sample.config.upstream[0].services = vec!["catalog.v1.ProductService".to_owned()];
    let tables = sample.open().await;
    reflect_catalog(&tables, &["catalog.v1.ProductService", "accord.auth.v1.AccessService"]);
    assert_eq!(tables.load().services().into_iter().collect::<Vec<_>>(), ["catalog.v1.ProductService"]);
}

#[tokio::test]
async fn service_and_its_overlay_may_change_in_either_order() {
    let (products, access) = ("catalog.v1.ProductService", "accord.auth.v1.AccessService");
    let rule = |service: &str| {
        format!("[[rule]]\nselector = \"{service}/*\"\npolicy = {{ deadline = {{ default = \"1s\" }} }}\n")
    };
    for overlay_first in [true, false] {
        let sample = Sample::new(false);
        let tables = sample.open().await;
        sample.overlay(&rule(products));
        tables.reload_files();
        reflect_catalog(&tables, &[products]);
        let before = tables.load();
        assert_eq!(before.grpc(GET).unwrap().method.policy.deadline.default.as_secs(), 1);

        let steps = [overlay_first, !overlay_first];
        for (step, is_overlay) in steps.into_iter().enumerate() {
            if is_overlay {
                sample.overlay(&rule(access));
                tables.reload_files();
            } else {
                reflect_catalog(&tables, &[access]);
            }
            let changed = !Arc::ptr_eq(&before, &tables.load());
            assert_eq!(changed, step == 1, "neither can be enforced without the other");
        }
        assert_eq!(tables.load().services().into_iter().collect::<Vec<_>>(), [access]);
    }
}

#[tokio::test]
async fn refused_change_does_not_block_later_changes() {
    let sample = Sample::new(false);
    let tables = sample.open().await;
    reflect_catalog(&tables, &["catalog.v1.ProductService"]);
    sample.overlay("[[rule]]\nselector = \"ghost.v1.*\"\n");
    tables.reload_files();
    reflect_catalog(&tables, &["accord.auth.v1.AccessService"]);
    assert_eq!(tables.load().services().into_iter().collect::<Vec<_>>(), ["accord.auth.v1.AccessService"]);
}

/// The upstream answers with these services.
fn reflect_catalog(tables: &Tables, services: &[&str]) {
    tables.set_descriptors(&tables.load().upstreams()[0], &descriptors(services));
}

fn descriptors(services: &[&str]) -> reflect::Descriptors {
    let services = services.iter().map(ToString::to_string).collect();
    reflect::Descriptors::linked(accord_api::FILE_DESCRIPTOR_SET, services).unwrap()
}

#[tokio::test]
async fn cached_method_has_a_plan_of_its_own_in_each_version() {
    let table = Sample::new(true).with_version("v2", 5, ("x-canary", "1")).open().await.load();
    let entry = table.grpc(GET).unwrap();
    let [own, other] = [None, Some(0)].map(|version| entry.cache_plan(version).unwrap().digest.clone());
    assert_ne!(own, other);
    assert_eq!(own, Sample::new(true).open().await.load().grpc(GET).unwrap().cache_plan(None).unwrap().digest);
    assert_eq!(&**entry.upstream_of(Some(0)).name(), "catalog/v2");
}
