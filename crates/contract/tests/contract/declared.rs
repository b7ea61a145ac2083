//! Nothing is served that nobody declared: an RPC without access doesn't pass this test.

use accord_contract::{Access, Contract, OwnError, Source};

fn own() -> Source {
    own_of(Source::descriptor_set("accord", "the workspace's protos", accord_api::FILE_DESCRIPTOR_SET).unwrap())
}

/// Services that were declared elsewhere: proxies call the one, agents of SPIFFE serve the other.
const FOREIGN: [&str; 2] = ["envoy.", "SpiffeWorkloadAPI"];

/// Without those that were declared elsewhere.
fn own_of(source: Source) -> Source {
    let names: Vec<_> = source.pool.services().map(|service| service.full_name().to_owned()).collect();
    source.only(names.into_iter().filter(|name| !FOREIGN.iter().any(|foreign| name.starts_with(foreign))))
}

#[test]
fn every_method_of_this_workspace_declares_who_may_call() {
    let (contract, findings) = Contract::load(&[own()], &[]);
    assert_eq!(findings.iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
    for method in contract.methods() {
        let is_own = ["accord.", "catalog.", "orders."].iter().any(|package| method.name.starts_with(package));
        assert!(is_own, "{}", method.name);
        assert_ne!(method.policy.access, Access::Denied, "{}", method.name);
    }
    assert!(contract.methods().len() > 10);
}

#[test]
fn declared_deadline_is_that_of_the_nearest_layer() {
    let (contract, _) = Contract::load(&[own()], &[]);
    let declared = |name: &str| {
        let (default, max) = contract.method(name).unwrap().declared_deadline();
        (default.map(|time| time.as_secs()), max.map(|time| time.as_secs()))
    };
    assert_eq!(declared("catalog.v1.ProductService/GetProduct"), (Some(2), Some(10)), "of the file");
    assert_eq!(declared("catalog.v1.ProductService/WatchProducts"), (Some(60), Some(3600)), "of the method");
    assert_eq!(declared("accord.auth.v1.TokenService/Issue"), (Some(5), Some(10)), "of the service");
    assert_eq!(declared("accord.gateway.v1.ExplainService/Explain"), (None, None), "only the defaults hold");
}

#[test]
fn own_contract_has_the_methods_of_the_named_services_alone() {
    let contract =
        Contract::own(&[(accord_api::FILE_DESCRIPTOR_SET, &["accord.gateway.v1.ExplainService"])], &[]).unwrap();
    let names: Vec<_> = contract.methods().into_iter().map(|method| method.name.to_string()).collect();
    assert_eq!(names, ["accord.gateway.v1.ExplainService/Explain", "accord.gateway.v1.ExplainService/ListMethods"]);
}

#[test]
fn own_descriptors_are_decoded_once() {
    let contract =
        Contract::own(&[(accord_api::FILE_DESCRIPTOR_SET, &["accord.gateway.v1.ExplainService"])], &[]).unwrap();
    let descriptor = &contract.methods()[0].descriptor;
    assert!(descriptor.parent_pool() == accord_contract::policy_type().parent_pool());
}

#[test]
fn own_contract_without_a_named_service_is_refused() {
    let refused =
        Contract::own(&[(accord_api::FILE_DESCRIPTOR_SET, &["accord.gateway.v1.NoService"])], &[]).unwrap_err();
    assert!(matches!(refused, OwnError::Refused(_)), "{refused}");
    let refused = Contract::own(&[(b"not descriptors", &[])], &[]).unwrap_err();
    assert!(matches!(refused, OwnError::Source(_)), "{refused}");
}

#[test]
fn sample_contract_compiles_as_documented() {
    let (contract, _) = Contract::load(&[own()], &[]);
    let method = contract.method("catalog.v1.ProductService/GetProduct").unwrap();
    assert_eq!(method.policy.access, Access::Permission("catalog.products.read".into()));
    assert_eq!(method.http[0].to_string(), "GET /v1/products/{id}");
    let cache = method.policy.cache.as_ref().unwrap();
    let request = b"\x0a\x05lamp/";
    assert_eq!(cache.tags[0].expand(request, None).unwrap().unwrap(), "product/lamp%2F");
    assert_eq!(method.cache_key(cache, request).unwrap().as_ref(), request);
    let update = contract.method("catalog.v1.ProductService/UpdateProduct").unwrap();
    assert_eq!(update.missing(b"").unwrap().as_deref(), Some("product"));

    let source_of = |field: &str| method.sources.iter().find(|source| source.field == field).unwrap().source.as_str();
    assert_eq!(source_of("deadline.max"), "file catalog/v1/product_service.proto");
    assert_eq!(source_of("access.permission"), "service catalog.v1.ProductService");
    assert_eq!(source_of("cache.ttl"), "method catalog.v1.ProductService/GetProduct");
    assert_eq!(source_of("criticality"), "default");
}

#[test]
fn contract_has_only_named_services() {
    let one = own().only(["catalog.v1.ProductService".to_owned()]);
    let (contract, findings) = Contract::load(&[one], &[]);
    assert_eq!((contract.methods().len(), findings.len()), (5, 0));

    let (_, findings) = Contract::load(&[own().only(["catalog.v1.Nothing".to_owned()])], &[]);
    crate::fixture::refused(&findings, "services", "don't have it");
}

#[test]
fn reflected_files_make_the_same_contract_in_any_order() {
    let pool = own().pool;
    let mut files: Vec<_> = pool.files().map(|file| file.encode_to_vec()).collect();
    files.reverse();
    files.extend_from_within(..2);
    let (contract, findings) = Contract::load(&[own_of(Source::reflected("accord", files).unwrap())], &[]);
    assert_eq!(findings, []);
    assert_eq!(contract.methods().len(), Contract::load(&[own()], &[]).0.methods().len());
}

#[test]
fn descriptor_set_without_imports_is_refused_with_the_remedy() {
    let pool = own().pool;
    let lone = pool.get_file_by_name("catalog/v1/product_service.proto").unwrap().encode_to_vec();
    let error = Source::reflected("catalog", [lone]).unwrap_err();
    assert!(error.to_string().contains("--include_imports"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("set.binpb");
    assert!(Source::file("catalog", &path).unwrap_err().to_string().contains("set.binpb"));
    std::fs::write(&path, accord_api::FILE_DESCRIPTOR_SET).unwrap();
    assert!(Source::file("catalog", &path).is_ok());
}
