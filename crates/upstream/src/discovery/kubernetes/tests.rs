use std::net::SocketAddr;
use std::path::Path;

use accord_test_certificates::Identity;
use accord_test_kubernetes::{Server, status};
use accord_test_log::Log;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::url::{Host, ServicePort};

fn follow(server: &Server) -> (Kubernetes, watch::Receiver<Addresses>) {
    follow_with(KubernetesConfig { url: server.url.clone(), ..KubernetesConfig::default() })
}

fn follow_with(config: KubernetesConfig) -> (Kubernetes, watch::Receiver<Addresses>) {
    let url = Arc::new(Url::parse("http+k8s://catalog.shop:grpc").unwrap());
    let Host::Kubernetes(service) = url.host.clone() else { panic!("{url:?}") };
    assert_eq!(service.port, ServicePort::Name("grpc".into()));
    let kubernetes = Kubernetes::new(url, service, config);
    let watched = kubernetes.watch();
    (kubernetes, watched)
}

/// A slice as of a version, with ready endpoints of these last numbers.
fn slice(name: &str, version: &str, hosts: &[u8]) -> Value {
    let addresses: Vec<_> = hosts.iter().map(|host| format!("10.0.0.{host}")).collect();
    accord_test_kubernetes::slice(name, version, 9000, &addresses)
}

fn hosts(addresses: &Addresses) -> Vec<u8> {
    let last = |socket: SocketAddr| socket.to_string().rsplit_once('.').unwrap().1.trim_end_matches(":9000").parse();
    addresses.iter().map(|found| last(found.address.socket).unwrap()).collect()
}

/// Waits until these endpoints, and no others, are known.
async fn until(watched: &mut watch::Receiver<Addresses>, expected: &[u8]) {
    let found = tokio::time::timeout(Duration::from_secs(20), watched.wait_for(|found| hosts(found) == expected));
    found.await.unwrap_or_else(|_| panic!("they don't become {expected:?}")).unwrap();
}

#[tokio::test]
async fn service_is_listed_by_its_label_and_watched_from_the_version_of_the_list() {
    let mut server = Server::start().await;
    let (_kubernetes, mut watched) = follow(&server);
    let asked = server.next().await;
    assert_eq!(asked.path(), "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices");
    assert_eq!(asked.query("labelSelector").as_deref(), Some("kubernetes.io/service-name=catalog"));
    asked.answer(&json!({"metadata": {"resourceVersion": "100"}, "items": [slice("a", "7", &[1, 2])]}));
    until(&mut watched, &[1, 2]).await;
    let asked = server.next().await;
    let query = ["watch", "resourceVersion", "allowWatchBookmarks", "timeoutSeconds"].map(|name| asked.query(name));
    assert_eq!(query.map(Option::unwrap), ["true", "100", "true", "60"]);
}

#[tokio::test]
async fn added_modified_and_deleted_slices_change_the_endpoints() {
    let mut server = Server::start().await;
    let (_kubernetes, mut watched) = follow(&server);
    server.list("1", &[slice("a", "1", &[1])]).await;
    let watch = server.watch("1").await;
    watch.event("ADDED", &slice("b", "2", &[2])).await;
    until(&mut watched, &[1, 2]).await;
    watch.event("MODIFIED", &slice("a", "3", &[3])).await;
    until(&mut watched, &[2, 3]).await;
    watch.event("DELETED", &slice("b", "4", &[2])).await;
    until(&mut watched, &[3]).await;
}

#[tokio::test]
async fn service_that_is_scaled_to_zero_has_no_endpoints() {
    let mut server = Server::start().await;
    let (_kubernetes, mut watched) = follow(&server);
    server.list("1", &[slice("a", "1", &[1])]).await;
    let watch = server.watch("1").await;
    until(&mut watched, &[1]).await;
    watch.event("MODIFIED", &slice("a", "2", &[])).await;
    until(&mut watched, &[]).await;
}

#[tokio::test]
async fn watch_that_ends_is_resumed_from_the_last_event() {
    let mut server = Server::start().await;
    let (_kubernetes, mut watched) = follow(&server);
    server.list("1", &[]).await;
    let watch = server.watch("1").await;
    watch.event("ADDED", &slice("a", "5", &[1])).await;
    until(&mut watched, &[1]).await;
    drop(watch);
    server.watch("5").await;
}

#[tokio::test]
async fn watch_is_resumed_from_a_bookmark() {
    let mut server = Server::start().await;
    let (_kubernetes, mut watched) = follow(&server);
    server.list("1", &[]).await;
    let watch = server.watch("1").await;
    watch.event("ADDED", &slice("a", "5", &[1])).await;
    watch.bookmark("90").await;
    until(&mut watched, &[1]).await;
    drop(watch);
    server.watch("90").await;
}

#[tokio::test]
async fn connection_that_is_cut_resumes_and_keeps_the_endpoints() {
    let mut server = Server::start().await;
    let (_kubernetes, mut watched) = follow(&server);
    server.list("1", &[slice("a", "1", &[1])]).await;
    let watch = server.watch("1").await;
    until(&mut watched, &[1]).await;
    watch.cut().await;
    let watch = server.watch("1").await;
    assert_eq!(hosts(&watched.borrow()), [1]);
    watch.event("MODIFIED", &slice("a", "2", &[2])).await;
    until(&mut watched, &[2]).await;
}

#[tokio::test]
async fn version_that_is_gone_is_listed_anew() {
    let mut server = Server::start().await;
    let (_kubernetes, mut watched) = follow(&server);
    server.list("1", &[slice("a", "1", &[1]), slice("b", "1", &[2])]).await;
    server.watch("1").await.event("ERROR", &status(410, "Expired")).await;
    // What went meanwhile is in no event: only the list says it.
    server.list("50", &[slice("b", "1", &[2])]).await;
    until(&mut watched, &[2]).await;
    server.watch("50").await;
}

#[tokio::test]
async fn watch_that_is_refused_as_gone_is_listed_anew() {
    let mut server = Server::start().await;
    let (_kubernetes, mut watched) = follow(&server);
    server.list("1", &[slice("a", "1", &[1])]).await;
    server.next().await.refuse(410, "Expired");
    server.list("50", &[slice("a", "40", &[3])]).await;
    until(&mut watched, &[3]).await;
    server.watch("50").await;
}

#[tokio::test]
async fn endpoints_stay_while_the_api_server_fails_and_the_log_tells_it_once() {
    let log = Log::default();
    let _guard = log.start();
    let mut server = Server::start().await;
    let (_kubernetes, mut watched) = follow(&server);
    server.list("1", &[slice("a", "1", &[1])]).await;
    drop(server.watch("1").await);
    for _ in 0..2 {
        server.next().await.refuse(503, "ServiceUnavailable");
    }
    let watch = server.watch("1").await;
    assert_eq!(hosts(&watched.borrow()), [1]);
    watch.event("MODIFIED", &slice("a", "2", &[2])).await;
    until(&mut watched, &[2]).await;
    assert_eq!(log.count("discovery failed, keeping the last addresses"), 1);
    assert_eq!(log.count("discovery works again"), 1);
}

#[tokio::test]
async fn refusal_is_logged_with_the_role_that_is_missing() {
    let log = Log::default();
    let _guard = log.start();
    let mut server = Server::start().await;
    let (_kubernetes, mut watched) = follow(&server);
    server.next().await.refuse(403, "Forbidden");
    server.list("1", &[slice("a", "1", &[1])]).await;
    until(&mut watched, &[1]).await;
    assert_eq!(log.count("`list` and `watch` `endpointslices`"), 1);
}

#[tokio::test]
async fn port_that_no_slice_has_is_logged_once_with_those_that_there_are() {
    let log = Log::default();
    let _guard = log.start();
    let mut server = Server::start().await;
    let mut other = slice("a", "1", &[1]);
    other["ports"][0]["name"] = "http".into();
    let (_kubernetes, _watched) = follow(&server);
    server.list("1", &[other.clone()]).await;
    let watch = server.watch("1").await;
    watch.event("MODIFIED", &other).await;
    watch.event("ERROR", &status(410, "Expired")).await;
    server.list("2", &[other]).await;
    server.watch("2").await;
    assert_eq!(log.count("http (9000)"), 1);
}

/// An API server with TLS, and the files that a service account has.
async fn mounted(directory: &Path) -> (Server, KubernetesConfig) {
    let own = Identity::self_signed(&["localhost"]);
    accord_runtime::tls::install_provider();
    let tls =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![own.der.clone()], own.key_der()).unwrap();
    let server = Server::with(Some(TlsAcceptor::from(Arc::new(tls)))).await;
    let (ca_file, token_file) = (directory.join("ca.crt"), directory.join("token"));
    std::fs::write(&ca_file, own.certificate).unwrap();
    std::fs::write(&token_file, "secret").unwrap();
    let config = KubernetesConfig { url: server.url.clone(), token_file, ca_file };
    (server, config)
}

#[tokio::test]
async fn token_of_the_service_account_is_sent_to_an_api_server_that_its_authority_vouches_for() {
    let directory = tempfile::tempdir().unwrap();
    let (mut server, config) = mounted(directory.path()).await;
    let (_kubernetes, _watched) = follow_with(config);
    assert_eq!(server.next().await.authorization(), Some("Bearer secret"));
}

#[tokio::test]
async fn token_is_not_sent_in_plaintext() {
    let directory = tempfile::tempdir().unwrap();
    let (_encrypted, config) = mounted(directory.path()).await;
    let mut server = Server::start().await;
    let (_kubernetes, _watched) = follow_with(KubernetesConfig { url: server.url.clone(), ..config });
    assert_eq!(server.next().await.authorization(), None);
}

#[tokio::test]
async fn files_that_are_mounted_late_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let (mut server, config) = mounted(directory.path()).await;
    let late = directory.path().join("late");
    let (_kubernetes, mut watched) = follow_with(KubernetesConfig { token_file: late.clone(), ..config });
    std::fs::write(&late, "renewed").unwrap();
    let asked = server.next().await;
    assert_eq!(asked.authorization(), Some("Bearer renewed"));
    asked.answer(&json!({"metadata": {"resourceVersion": "1"}, "items": [slice("a", "1", &[1])]}));
    until(&mut watched, &[1]).await;
}
