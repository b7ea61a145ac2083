use super::*;
use crate::table::MethodTable;
use crate::table::tests::{GET, Sample};

const KEYS: &str = "accord.auth.v1.KeyService";

/// What the tables were built by, with a change.
fn changed(tables: &Tables, change: impl FnOnce(&mut Config)) -> Arc<Config> {
    let mut config = Config::clone(&tables.config());
    change(&mut config);
    Arc::new(config)
}

/// An upstream that nobody listens for, and that has a descriptor set; or none.
fn keys(tables: &Tables, has_descriptors: bool) -> UpstreamConfig {
    let catalog = tables.config().upstream[0].clone();
    let descriptors = catalog.descriptors.clone().filter(|_| has_descriptors);
    UpstreamConfig { name: "keys".to_owned(), services: vec![KEYS.to_owned()], descriptors, ..catalog }
}

fn services_of(table: &MethodTable, upstream: &str) -> Vec<String> {
    table.services_of(upstream).into_iter().map(str::to_owned).collect()
}

async fn open() -> (Sample, Arc<Tables>) {
    let mut sample = Sample::new(true);
    sample.config.upstream[0].services = vec!["catalog.v1.ProductService".to_owned()];
    let tables = sample.open().await;
    (sample, tables)
}

#[tokio::test]
async fn upstream_that_is_added_and_removed_leaves_the_others_as_they_are() {
    let (_sample, tables) = open().await;
    let first = tables.load();
    let added = keys(&tables, true);
    tables.reconfigure(&changed(&tables, |config| config.upstream.insert(0, added))).await.unwrap();
    let second = tables.load();
    assert_eq!(services_of(&second, "keys"), [KEYS]);
    assert!(Arc::ptr_eq(&first.upstreams()[0], &second.upstreams()[1]));
    assert!(Arc::ptr_eq(&first.grpc(GET).unwrap().rates, &second.grpc(GET).unwrap().rates));

    tables.reconfigure(&changed(&tables, |config| drop(config.upstream.remove(0)))).await.unwrap();
    let third = tables.load();
    assert!(services_of(&third, "keys").is_empty() && third.upstreams().len() == 1);
    assert!(Arc::ptr_eq(&first.upstreams()[0], &third.upstreams()[0]));
}

#[tokio::test]
async fn configuration_that_says_nothing_new_of_upstreams_changes_nothing() {
    let (_sample, tables) = open().await;
    let before = tables.load();
    tables.reconfigure(&changed(&tables, |config| config.limits.max_in_flight = 7)).await.unwrap();
    assert!(Arc::ptr_eq(&before, &tables.load()));
}

#[tokio::test]
async fn contract_that_cannot_be_enforced_is_refused_and_changes_nothing() {
    let (_sample, tables) = open().await;
    let (before, config) = (tables.load(), tables.config());
    // Both upstreams would serve the same service.
    let added = UpstreamConfig { services: vec!["catalog.v1.ProductService".to_owned()], ..keys(&tables, true) };
    let refused = tables.reconfigure(&changed(&tables, |config| config.upstream.push(added))).await.unwrap_err();
    assert!(refused.errors().any(|reason| reason.contains("catalog.v1.ProductService")), "{refused}");
    assert!(Arc::ptr_eq(&before, &tables.load()) && Arc::ptr_eq(&config, &tables.config()));
}

#[tokio::test]
async fn new_upstream_that_does_not_say_what_it_serves_is_refused_by_its_name() {
    let (_sample, tables) = open().await;
    let before = tables.load();
    let added = keys(&tables, false);
    let refused = tables.reconfigure(&changed(&tables, |config| config.upstream.push(added))).await.unwrap_err();
    assert!(refused.errors().any(|reason| reason.starts_with("upstream keys: ")), "{refused}");
    assert!(Arc::ptr_eq(&before, &tables.load()));
}

#[tokio::test]
async fn upstream_that_is_away_and_stays_where_it_is_takes_other_settings() {
    let sample = Sample::new(false);
    let tables = sample.open().await;
    assert!(tables.load().is_pending());
    tables.reconfigure(&changed(&tables, |config| config.upstream[0].max_in_flight = 7)).await.unwrap();
    assert!(tables.load().is_pending());
}

#[tokio::test]
async fn descriptors_of_an_upstream_that_is_one_no_longer_are_not_taken() {
    let sample = Sample::new(false);
    let tables = sample.open().await;
    let (before, left) = (tables.load(), Arc::clone(&tables.load().upstreams()[0]));
    tables.reconfigure(&changed(&tables, |config| config.upstream[0].max_in_flight = 7)).await.unwrap();
    let services = vec!["catalog.v1.ProductService".to_owned()];
    let descriptors = Descriptors::linked(accord_api::FILE_DESCRIPTOR_SET, services).unwrap();
    tables.set_descriptors(&left, &descriptors);
    assert!(tables.load().is_pending() && before.is_pending());
    tables.set_descriptors(&tables.load().upstreams()[0], &descriptors);
    assert!(!tables.load().is_pending());
}

#[tokio::test]
async fn overlay_that_is_named_later_holds_and_is_read_again() {
    let (sample, tables) = open().await;
    let overlay = sample.directory.path().join("later.toml");
    let write = |seconds: u32| {
        let rule = format!("policy = {{ deadline = {{ default = \"{seconds}s\" }} }}");
        std::fs::write(&overlay, format!("[[rule]]\nselector = \"catalog.v1.ProductService/*\"\n{rule}\n")).unwrap();
    };
    let deadline = || tables.load().grpc(GET).unwrap().method.policy.deadline.default.as_secs();
    write(1);
    tables.reconfigure(&changed(&tables, |config| config.contract.overlays = vec![overlay.clone()])).await.unwrap();
    assert_eq!(deadline(), 1);
    write(2);
    tables.reload_files();
    assert_eq!(deadline(), 2);
}
