use prost_reflect::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic_reflection::server::Builder;

use super::*;

fn builder() -> Builder<'static> {
    Builder::configure().register_encoded_file_descriptor_set(accord_api::FILE_DESCRIPTOR_SET)
}

async fn serving(routes: Routes) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_routes(routes);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Client::lazy(&url).unwrap()
}

fn cache_ttl_is_declared(descriptors: &Descriptors) -> bool {
    let method =
        descriptors.source.pool.get_service_by_name("catalog.v1.ProductService").unwrap().methods().next().unwrap();
    let policy = descriptors.source.pool.get_extension_by_name("accord.policy.v1.method").unwrap();
    matches!(method.options().get_extension(&policy).as_ref(), Value::Message(policy) if policy.has_field_by_name("cache"))
}

#[tokio::test]
async fn server_with_v1_is_read_with_its_options() {
    let client = serving(Routes::new(builder().build_v1().unwrap())).await;
    let descriptors = read(&client).await.unwrap();
    assert!(descriptors.services.contains(&"catalog.v1.ProductService".to_owned()));
    assert!(cache_ttl_is_declared(&descriptors));
}

#[tokio::test]
async fn server_with_v1alpha_alone_is_read() {
    let client = serving(Routes::new(builder().build_v1alpha().unwrap())).await;
    let descriptors = read(&client).await.unwrap();
    assert!(descriptors.services.contains(&"catalog.v1.ProductService".to_owned()));
    assert!(cache_ttl_is_declared(&descriptors));
}

#[tokio::test]
async fn health_and_reflection_services_are_left_out() {
    let reflection = builder()
        .with_service_name("catalog.v1.ProductService")
        .with_service_name("grpc.reflection.v1.ServerReflection")
        .with_service_name("grpc.health.v1.Health");
    let client = serving(Routes::new(reflection.build_v1().unwrap())).await;
    assert_eq!(read(&client).await.unwrap().services, ["catalog.v1.ProductService"]);
}

#[tokio::test]
async fn server_without_reflection_is_unsupported_and_not_unreachable() {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let client = serving(Routes::new(health)).await;
    assert!(matches!(read(&client).await, Err(ReflectError::Unsupported)));

    // Bound, and not listening.
    let refusing = TcpSocket::new_v4().unwrap();
    refusing.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let client = Client::lazy(&format!("http://{}", refusing.local_addr().unwrap())).unwrap();
    let error = read(&client).await.unwrap_err();
    assert!(matches!(&error, ReflectError::NoConnection { cause, .. } if cause.contains("refused")), "{error}");
}

#[tokio::test]
async fn listed_service_without_descriptor_is_named() {
    let reflection = builder().with_service_name("ghost.v1.Ghost");
    let client = serving(Routes::new(reflection.build_v1().unwrap())).await;
    let error = read(&client).await.unwrap_err();
    assert_eq!(error.to_string(), "it does not know ghost.v1.Ghost, which it refers to");
}

#[tokio::test]
async fn well_known_import_that_the_server_leaves_out_is_added() {
    let pool = DescriptorPool::decode(accord_api::FILE_DESCRIPTOR_SET).unwrap();
    let mut alone = Vec::new();
    let sample = pool.get_file_by_name("catalog/v1/product_service.proto").unwrap().encode_to_vec();
    prost::encoding::bytes::encode(1, &sample, &mut alone);
    let reflection = Builder::configure().register_encoded_file_descriptor_set(&alone);
    let client = serving(Routes::new(reflection.include_reflection_service(false).build_v1().unwrap())).await;
    assert!(cache_ttl_is_declared(&read(&client).await.unwrap()));
}

#[tokio::test]
async fn server_whose_descriptors_make_their_decoder_panic_is_unusable() {
    let file = FileDescriptorProto {
        name: Some("a.proto".to_owned()),
        syntax: Some("proto9".to_owned()),
        service: vec![prost_types::ServiceDescriptorProto { name: Some("A".to_owned()), ..Default::default() }],
        ..Default::default()
    };
    let set = prost_types::FileDescriptorSet { file: vec![file] };
    let reflection = Builder::configure().register_file_descriptor_set(set).with_service_name("A");
    let client = serving(Routes::new(reflection.build_v1().unwrap())).await;
    assert!(matches!(read(&client).await, Err(ReflectError::Unusable(_))));
}

#[test]
fn import_for_options_is_wanted_as_such() {
    let mut file =
        FileDescriptorProto { dependency: vec!["types.proto".to_owned()], ..Default::default() }.encode_to_vec();
    accord_wire::put_bytes(&mut file, OPTION_DEPENDENCY, b"options.proto");
    let mut files = Files::default();
    files.add(vec![file]).unwrap();
    assert_eq!(files.wanted(), Some(("types.proto".to_owned(), Import::ForTypes)));
    assert_eq!(files.wanted(), Some(("options.proto".to_owned(), Import::ForOptions)));
    assert_eq!(files.wanted(), None);
}

#[test]
fn more_files_or_bytes_than_the_bound_are_refused() {
    let mut files = Files::default();
    let file = |index: usize| FileDescriptorProto { name: Some(format!("{index}.proto")), ..Default::default() };
    let many = (0..=MAX_FILES).map(|index| file(index).encode_to_vec()).collect();
    assert!(matches!(files.add(many), Err(ReflectError::TooLarge)));
}
