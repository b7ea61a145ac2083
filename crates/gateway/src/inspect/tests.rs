use std::convert::Infallible;
use std::time::Duration;

use accord_api::FILE_DESCRIPTOR_SET;
use accord_contract::Source;
use accord_upstream::Upstream;
use prost_reflect::DescriptorPool;
use tokio::net::{TcpListener, TcpSocket};
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::equivalent::equivalent;
use super::openapi::OpenApiConfig;
use super::*;
use crate::config::{Config, UpstreamConfig};
use crate::reflect;
use crate::table::{self, Sources};

/// Serves the sample's reflection and health, as one of the gateway's upstreams would.
fn serve_sample(listener: TcpListener) {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let reflection = Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .with_service_name("catalog.v1.ProductService");
    let server =
        tonic::transport::Server::builder().add_service(health).add_service(reflection.build_v1alpha().unwrap());
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
}

async fn tables_of(url: String) -> Arc<Tables> {
    let mut config = Config::default();
    config.upstream.push(UpstreamConfig { name: "catalog".to_owned(), urls: vec![url], ..UpstreamConfig::default() });
    let upstreams = Upstream::all(&config.upstream, &config.discovery).unwrap();
    let sources = Sources::gather(&config, &upstreams).await.unwrap();
    Tables::open(&Arc::new(config), sources, &upstreams).unwrap()
}

async fn health_of(inspection: &Arc<Inspection>, service: &str) -> ServingStatus {
    let inspection = Arc::clone(inspection);
    let call = tower::service_fn(move |request: Request<Body>| {
        let inspection = Arc::clone(&inspection);
        async move { Ok::<_, Infallible>(inspection.call(request).await) }
    });
    let question = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(call).check(question).await.unwrap().into_inner().status()
}

/// What a client reads by reflection from a gateway that answers with `inspection`.
async fn read_through(inspection: &Arc<Inspection>) -> reflect::Descriptors {
    reflected(inspection).await.unwrap()
}

async fn reflected(inspection: &Arc<Inspection>) -> Result<reflect::Descriptors, reflect::ReflectError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = Routes::clone(&inspection.routes.load());
    let server = tonic::transport::Server::builder().add_routes(routes);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    reflect::read(&accord_upstream::Client::lazy(&url).unwrap()).await
}

#[tokio::test]
async fn services_of_an_upstream_are_told_and_as_healthy_as_it_is_for_as_long_as_it_is_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    serve_sample(listener);
    let tables = tables_of(url).await;
    let (health, shutdown) = (Health::new(), Shutdown::new(Duration::ZERO));
    let openapi = OpenApi::new(&tables, &OpenApiConfig::default(), false);
    let inspection = Inspection::open(&tables, &health, true, openapi, &shutdown);

    assert_eq!(read_through(&inspection).await.services, ["catalog.v1.ProductService"]);
    while health.services().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(health_of(&inspection, "catalog.v1.ProductService").await, ServingStatus::Serving);
    assert_eq!(health_of(&inspection, "").await, ServingStatus::Serving);

    inspection.take_over(false, &OpenApiConfig::default());
    assert!(reflected(&inspection).await.is_err());
    inspection.take_over(true, &OpenApiConfig::default());
    assert_eq!(read_through(&inspection).await.services, ["catalog.v1.ProductService"]);

    let gone = Config { upstream: Vec::new(), ..Config::clone(&tables.config()) };
    tables.reconfigure(&Arc::new(gone)).await.unwrap();
    while !health.services().is_empty() || !read_through(&inspection).await.services.is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn reflection_lists_an_upstream_that_comes_later() {
    // It refuses as long as it does not listen.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let tables = tables_of(format!("http://{}", socket.local_addr().unwrap())).await;
    let (health, shutdown) = (Health::new(), Shutdown::new(Duration::ZERO));
    let openapi = OpenApi::new(&tables, &OpenApiConfig::default(), false);
    let inspection = Inspection::open(&tables, &health, true, openapi, &shutdown);
    assert!(tables.load().is_pending());

    let mut changed = tables.subscribe();
    table::follow(&tables, &shutdown);
    serve_sample(socket.listen(16).unwrap());
    changed.changed().await.unwrap();

    assert!(tables.load().grpc("/catalog.v1.ProductService/GetProduct").is_some());
    while read_through(&inspection).await.services.is_empty() {
        tokio::task::yield_now().await;
    }
    shutdown.begin();
}

#[test]
fn only_its_own_paths_are_answered_here() {
    assert!(Inspection::serves("/grpc.health.v1.Health/Check"));
    assert!(Inspection::serves("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"));
    assert!(!Inspection::serves("/grpc.health.v1.Healthy/Check"));
    assert!(!Inspection::serves("/catalog.v1.ProductService/GetProduct"));
}

/// A source of one upstream, made of files: each with its name, its package and what it imports.
fn source(upstream: &str, files: &[(&str, &str, &[&str])]) -> Source {
    let file = |(name, package, imports): &(&str, &str, &[&str])| prost_types::FileDescriptorProto {
        name: Some((*name).to_owned()),
        package: Some((*package).to_owned()),
        dependency: imports.iter().map(|import| (*import).to_owned()).collect(),
        ..Default::default()
    };
    let set = prost_types::FileDescriptorSet { file: files.iter().map(file).collect() };
    Source::descriptor_set(upstream, "test", &prost::Message::encode_to_vec(&set)).unwrap()
}

/// The files that reflection tells: name, package, imports.
fn told(sources: &[Source]) -> Vec<(String, String, Vec<String>)> {
    let merged = DescriptorPool::decode(merge(sources).as_slice()).unwrap();
    let file = |file: prost_reflect::FileDescriptor| {
        let imports = file.dependencies().map(|import| import.name().to_owned()).collect();
        (file.name().to_owned(), file.package_name().to_owned(), imports)
    };
    let mut files: Vec<_> = merged.files().map(file).collect();
    files.sort();
    files
}

fn row(name: &str, package: &str, imports: &[&str]) -> (String, String, Vec<String>) {
    (name.to_owned(), package.to_owned(), imports.iter().map(|import| (*import).to_owned()).collect())
}

#[test]
fn second_of_two_files_of_one_name_is_told_under_another() {
    let shop = source("shop", &[("common.proto", "shop.v1", &[]), ("shop.proto", "shop.v1", &["common.proto"])]);
    let store = source("store", &[("common.proto", "store.v1", &[]), ("store.proto", "store.v1", &["common.proto"])]);
    let expected = [
        row("common.proto", "shop.v1", &[]),
        row("shop.proto", "shop.v1", &["common.proto"]),
        row("store.proto", "store.v1", &["store/common.proto"]),
        row("store/common.proto", "store.v1", &[]),
    ];
    assert_eq!(told(&[shop, store]), expected);
}

#[test]
fn file_that_imports_a_renamed_one_is_told_for_each_upstream() {
    let files = |package| [("common.proto", package, &[][..]), ("both.proto", "both.v1", &["common.proto"][..])];
    let expected = [
        row("both.proto", "both.v1", &["common.proto"]),
        row("common.proto", "shop.v1", &[]),
        row("store/both.proto", "both.v1", &["store/common.proto"]),
        row("store/common.proto", "store.v1", &[]),
    ];
    assert_eq!(told(&[source("shop", &files("shop.v1")), source("store", &files("store.v1"))]), expected);
}

#[test]
fn file_of_an_edition_is_told_as_it_came() {
    let edition = include_bytes!("../../../transcode/tests/transcode/editions/lab.binpb");
    let lab = Source::descriptor_set("lab", "test", edition).unwrap();
    assert_eq!(merge(&[lab]), edition);
}

#[test]
fn files_of_two_compilers_are_equivalent_while_they_mean_the_same() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let name = "accord/policy/v1/policy.proto";
    let file = pool.get_file_by_name(name).unwrap().file_descriptor_proto().clone();
    let encoded = |file: &prost_types::FileDescriptorProto| prost::Message::encode_to_vec(file);

    // Python's protoc leaves these out.
    let mut bare = file.clone();
    bare.source_code_info = None;
    bare.message_type.iter_mut().flat_map(|message| &mut message.field).for_each(|field| field.json_name = None);
    let mut written = bare.clone();
    written.source_code_info = Some(prost_types::SourceCodeInfo::default());
    let message = pool.get_message_by_name("accord.policy.v1.MethodPolicy").unwrap();
    let described = written.message_type.iter_mut().find(|it| it.name() == message.name()).unwrap();
    for field in &mut described.field {
        field.json_name = Some(message.get_field_by_name(field.name()).unwrap().json_name().to_owned());
    }
    assert_ne!(encoded(&written), encoded(&bare));
    assert!(equivalent(&encoded(&written), &encoded(&bare)));

    let mut other = bare.clone();
    other.message_type[0].field[0].number = Some(99);
    assert!(!equivalent(&encoded(&other), &encoded(&bare)));
    let mut renamed = bare.clone();
    renamed.message_type[0].field[0].json_name = Some("else".to_owned());
    assert!(!equivalent(&encoded(&renamed), &encoded(&bare)));
}

#[test]
fn options_survive_merging() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let source = |upstream: &str| Source::descriptor_set(upstream, "test", FILE_DESCRIPTOR_SET).unwrap();
    let merged = merge(&[source("catalog"), source("again")]);
    let merged = DescriptorPool::decode(merged.as_slice()).unwrap();
    assert_eq!(merged.files().len(), pool.files().len());
    let policy = merged.get_extension_by_name("accord.policy.v1.service").unwrap();
    let service = merged.get_service_by_name("catalog.v1.ProductService").unwrap();
    assert!(service.options().has_extension(&policy));
}
