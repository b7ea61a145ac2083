//! Authentication and authorization of callers.

use prost_reflect::DescriptorPool;
use tonic::Code;

use crate::fixture::begin;

#[tokio::test]
async fn every_method_needs_a_credential() {
    let fixture = begin().await;
    let pool = DescriptorPool::decode(accord_api::FILE_DESCRIPTOR_SET).unwrap();
    let services = pool.services().filter(|service| service.package_name() == "accord.cache.v1");
    let methods: Vec<_> = services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    assert!(methods.len() >= 5, "{methods:?}");
    for method in methods {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let mut client = tonic::client::Grpc::new(fixture.channel.clone());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let refused = client.unary(tonic::Request::new(()), path.parse().unwrap(), codec).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{path}");
    }
}
