use accord_api::FILE_DESCRIPTOR_SET;

use super::*;

fn one_file(name: &str, package: &str) -> DescriptorPool {
    let file = prost_types::FileDescriptorProto {
        name: Some(name.to_owned()),
        package: Some(package.to_owned()),
        ..Default::default()
    };
    let mut pool = DescriptorPool::new();
    pool.add_file_descriptor_proto(file).unwrap();
    pool
}

#[test]
fn the_first_of_two_different_files_of_one_name_is_told() {
    let (shop, store) = (one_file("service.proto", "shop.v1"), one_file("service.proto", "store.v1"));
    let merged = DescriptorPool::decode(merge([("shop", &shop), ("store", &store)].into_iter()).as_slice()).unwrap();
    assert_eq!(merged.files().len(), 1);
    assert_eq!(merged.files().next().unwrap().package_name(), "shop.v1");
}

#[test]
fn options_survive_merging() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let merged = merge([("catalog", &pool), ("again", &pool)].into_iter());
    let merged = DescriptorPool::decode(merged.as_slice()).unwrap();
    assert_eq!(merged.files().len(), pool.files().len());
    let policy = merged.get_extension_by_name("accord.policy.v1.service").unwrap();
    let service = merged.get_service_by_name("catalog.v1.ProductService").unwrap();
    assert!(service.options().has_extension(&policy));
}
