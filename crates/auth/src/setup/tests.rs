use std::path::Path;

use accord_api::FILE_DESCRIPTOR_SET;
use accord_contract::{Access, Contract};

use super::*;
use crate::config::{ContractConfig, ObjectConfig, PolicyConfig};

const READERS: &str = r#"permit(
    principal in Accord::Role::"catalog-reader", action == Accord::Action::"catalog.products.read", resource);"#;

fn policy_file(directory: &Path, text: &str) -> PolicyConfig {
    let file = directory.join("test.cedar");
    std::fs::write(&file, text).unwrap();
    PolicyConfig { files: vec![file], ..PolicyConfig::default() }
}

/// What comes of this policy where the contract of the sample's catalog is known.
fn with_contract(text: &str) -> Result<Policies, PolicyError> {
    with_contract_and(text, &[])
}

/// The same with permissions beside it.
fn with_contract_and(text: &str, permissions: &[&str]) -> Result<Policies, PolicyError> {
    let directory = tempfile::tempdir().unwrap();
    let descriptors = directory.path().join("catalog.binpb");
    std::fs::write(&descriptors, FILE_DESCRIPTOR_SET).unwrap();
    let services = vec!["catalog.v1.ProductService".to_owned()];
    let catalog = ContractConfig { name: "catalog".to_owned(), descriptors, services };
    let permissions = permissions.iter().map(ToString::to_string).collect();
    Policies::load(&PolicyConfig { permissions, ..policy_file(directory.path(), text) }, &[catalog])
}

#[test]
fn permission_of_no_contract_is_refused_with_its_place_and_the_nearest_one() {
    let slip = READERS.replace("products.read", "product.read");
    let error = with_contract(&format!("\n{slip}")).err().unwrap().to_string();
    assert!(error.contains("test.cedar:3:") && error.contains("did you mean `catalog.products.read`?"), "{error}");
}

#[test]
fn unknown_permission_of_the_mesh_itself_is_refused_without_any_contract() {
    let directory = tempfile::tempdir().unwrap();
    let slip = r#"permit(principal in Accord::Role::"r", action == Accord::Action::"accord.auth.rotat", resource);"#;
    let error = Policies::load(&policy_file(directory.path(), slip), &[]).err().unwrap().to_string();
    assert!(error.contains("did you mean `accord.auth.rotate`?"), "{error}");
}

#[test]
fn permission_beside_the_contracts_is_accepted_where_the_configuration_names_it() {
    let carts = r#"permit(principal, action == Accord::Action::"carts.read", resource);"#;
    let error = with_contract(carts).err().unwrap().to_string();
    assert!(error.contains("`policy.permissions`"), "{error}");
    assert!(with_contract_and(carts, &["carts.read"]).is_ok());
}

#[test]
fn object_of_a_type_that_is_not_declared_is_refused_with_its_method() {
    let directory = tempfile::tempdir().unwrap();
    let [descriptors, overlay] = ["catalog.binpb", "overlay.toml"].map(|name| directory.path().join(name));
    std::fs::write(&descriptors, FILE_DESCRIPTOR_SET).unwrap();
    let about = "[[rule]]\nselector = 'catalog.v1.ProductService/GetProduct'\n\
                 policy = { access = { resource = 'Product/{id}' } }\n";
    std::fs::write(&overlay, about).unwrap();
    let services = vec!["catalog.v1.ProductService".to_owned()];
    let catalog = [ContractConfig { name: "catalog".to_owned(), descriptors, services }];
    let mut config = PolicyConfig { overlays: vec![overlay], ..policy_file(directory.path(), READERS) };
    let error = Policies::load(&config, &catalog).err().unwrap().to_string();
    assert!(error.contains("ProductService/GetProduct: no type of objects is called `Product`"), "{error}");
    config.object =
        vec![ObjectConfig { name: "Product".to_owned(), relations: vec!["owner".to_owned()], ..Default::default() }];
    assert!(Policies::load(&config, &catalog).is_ok());
}

#[test]
fn permission_of_a_contract_is_accepted() {
    assert!(with_contract(READERS).is_ok());
}

#[test]
fn permission_of_a_service_is_not_judged_while_no_contract_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let slip = policy_file(directory.path(), &READERS.replace("products.read", "product.read"));
    assert!(Policies::load(&slip, &[]).is_ok());
}

#[test]
fn every_permission_that_the_mesh_itself_asks_for_is_known_without_contracts() {
    let services: Vec<_> = prost_reflect::DescriptorPool::decode(FILE_DESCRIPTOR_SET)
        .unwrap()
        .services()
        .map(|service| service.full_name().to_owned())
        .filter(|name| name.starts_with("accord."))
        .collect();
    let services: Vec<_> = services.iter().map(String::as_str).collect();
    let contract = Contract::own(&[(FILE_DESCRIPTOR_SET, &services)], &[]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let methods = contract.methods();
    let permissions = methods.iter().filter_map(|method| match &method.policy.access {
        Access::Permission(permission) => Some(permission),
        _ => None,
    });
    let mut judged = 0;
    for permission in permissions {
        let policy = format!("permit(principal, action == Accord::Action::\"{permission}\", resource);");
        let loaded = Policies::load(&policy_file(directory.path(), &policy), &[]);
        assert!(loaded.is_ok(), "{:?}", loaded.err());
        judged += 1;
    }
    assert!(judged > 5, "{judged}");
}
