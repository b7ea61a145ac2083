use std::net::Ipv4Addr;
use std::sync::Arc;

use accord_test_dns::{Server, fqdn};
use hickory_resolver::proto::op::ResponseCode;

use super::*;
use crate::discovery::{Discovery, Dns};
use crate::url::Url;

fn names(server: &Server) -> Names {
    Names::new(server.config(), ResolverOpts::default(), Hosts::default()).unwrap()
}

async fn ask(server: &Server, host: Host) -> Result<Resolution, Failure> {
    resolve(Ok(names(server)), &host).await.map(|mut answer| {
        answer.sockets.sort_unstable();
        answer
    })
}

fn name(name: &str) -> Host {
    Host::Name(name.into(), 9000)
}

fn service(name: &str) -> Host {
    Host::Service(name.into())
}

fn sockets(sockets: &[&str]) -> Vec<SocketAddr> {
    sockets.iter().map(|socket| socket.parse().unwrap()).collect()
}

#[tokio::test]
async fn name_is_asked_of_the_servers_that_are_given_and_not_of_the_systems() {
    let server = Server::start().await;
    server.addresses("catalog.test", 30, &["10.0.0.1"]);
    let answer = by_servers(&name("catalog.test"), &[server.socket()]).await.unwrap();
    assert_eq!(answer.sockets, sockets(&["10.0.0.1:9000"]));
}

#[tokio::test]
async fn name_with_both_families_yields_every_address_with_the_port_of_the_url() {
    let server = Server::start().await;
    server.addresses("catalog.test", 30, &["10.0.0.1", "10.0.0.2"]);
    server.addresses("catalog.test", 40, &["fd00::1"]);
    let answer = ask(&server, name("catalog.test")).await.unwrap();
    assert_eq!(answer.sockets, sockets(&["10.0.0.1:9000", "10.0.0.2:9000", "[fd00::1]:9000"]));
    assert_eq!(answer.ttl, Duration::from_secs(30), "the smaller one");
}

#[tokio::test]
async fn name_with_one_family_failing_yields_the_other() {
    let server = Server::start().await;
    server.addresses("catalog.test", 30, &["10.0.0.1"]);
    server.fail("catalog.test", RecordType::AAAA, ResponseCode::ServFail);
    assert_eq!(ask(&server, name("catalog.test")).await.unwrap().sockets, sockets(&["10.0.0.1:9000"]));
}

#[tokio::test]
async fn name_with_one_family_unanswered_yields_the_other_in_time() {
    let server = Server::start().await;
    server.addresses("catalog.test", 30, &["10.0.0.1"]);
    server.ignore("catalog.test", RecordType::AAAA);
    let answer = tokio::time::timeout(Duration::from_secs(5), ask(&server, name("catalog.test"))).await;
    assert_eq!(answer.expect("within a resolution's time").unwrap().sockets, sockets(&["10.0.0.1:9000"]));
}

#[tokio::test]
async fn name_with_an_alias_expires_with_the_alias() {
    let server = Server::start().await;
    server.alias("catalog.test", 7, "node.test", 300, Ipv4Addr::new(10, 0, 0, 1));
    let answer = ask(&server, name("catalog.test")).await.unwrap();
    assert_eq!((answer.sockets, answer.ttl), (sockets(&["10.0.0.1:9000"]), Duration::from_secs(7)));
}

#[tokio::test]
async fn name_that_fails_or_does_not_exist_or_has_no_address_is_a_failure() {
    let server = Server::start().await;
    server.fail("broken.test", RecordType::A, ResponseCode::ServFail);
    server.fail("broken.test", RecordType::AAAA, ResponseCode::ServFail);
    server.services("empty.test", 30, &[(0, 1, "node.test")]);
    for host in ["broken.test", "missing.test", "empty.test"] {
        assert!(matches!(ask(&server, name(host)).await, Err(Failure::Dns(_))), "{host}");
    }
}

#[tokio::test]
async fn short_name_is_completed_by_the_search_list_before_it_is_asked_for_as_it_is() {
    let server = Server::start().await;
    server.addresses("catalog.shop.svc.cluster.test", 30, &["10.0.0.1"]);
    server.addresses("catalog.shop", 30, &["10.0.0.2"]);
    let mut config = server.config();
    config.add_search(Name::from_ascii("app.svc.cluster.test").unwrap());
    config.add_search(Name::from_ascii("svc.cluster.test").unwrap());
    let mut options = ResolverOpts::default();
    options.ndots = 5;
    let names = || Names::new(config.clone(), options.clone(), Hosts::default());
    let found = |answer: Result<Resolution, Failure>| answer.unwrap().sockets;
    assert_eq!(found(resolve(names(), &name("catalog.shop")).await), sockets(&["10.0.0.1:9000"]));
    assert_eq!(found(resolve(names(), &name("catalog.shop.")).await), sockets(&["10.0.0.2:9000"]));
}

#[tokio::test]
async fn service_yields_the_targets_of_the_lowest_priority_with_their_ports() {
    let server = Server::start().await;
    server.services(
        "_grpc._tcp.catalog.test",
        30,
        &[(10, 9001, "a.test"), (20, 9009, "spare.test"), (10, 9002, "b.test"), (10, 9003, "a.test")],
    );
    server.addresses("a.test", 20, &["10.0.0.1"]);
    server.addresses("a.test", 60, &["fd00::1"]);
    server.addresses("b.test", 60, &["10.0.0.2"]);
    server.addresses("spare.test", 5, &["10.0.0.9"]);
    let answer = ask(&server, service("_grpc._tcp.catalog.test")).await.unwrap();
    let expected = ["10.0.0.1:9001", "10.0.0.1:9003", "10.0.0.2:9002", "[fd00::1]:9001", "[fd00::1]:9003"];
    assert_eq!(answer.sockets, sockets(&expected));
    assert_eq!(answer.ttl, Duration::from_secs(20), "of the targets that count");
}

#[tokio::test]
async fn service_expires_with_its_srv_records() {
    let server = Server::start().await;
    server.services("_grpc._tcp.catalog.test", 3, &[(0, 9001, "a.test")]);
    server.addresses("a.test", 60, &["10.0.0.1"]);
    assert_eq!(ask(&server, service("_grpc._tcp.catalog.test")).await.unwrap().ttl, Duration::from_secs(3));
}

#[tokio::test]
async fn service_with_a_target_without_address_yields_the_others() {
    let server = Server::start().await;
    server.services("_grpc._tcp.catalog.test", 30, &[(0, 9001, "gone.test"), (0, 9002, "b.test")]);
    server.addresses("b.test", 60, &["10.0.0.2"]);
    let answer = ask(&server, service("_grpc._tcp.catalog.test")).await.unwrap();
    assert_eq!(answer.sockets, sockets(&["10.0.0.2:9002"]));
}

#[tokio::test]
async fn service_without_any_address_is_a_failure() {
    let server = Server::start().await;
    server.services("_grpc._tcp.catalog.test", 30, &[(0, 9001, "gone.test")]);
    assert!(matches!(ask(&server, service("_grpc._tcp.catalog.test")).await, Err(Failure::Dns(_))));
}

#[tokio::test]
async fn service_with_the_root_as_target_is_not_offered() {
    let server = Server::start().await;
    server.services("_grpc._tcp.catalog.test", 30, &[(0, 0, ".")]);
    assert!(matches!(ask(&server, service("_grpc._tcp.catalog.test")).await, Err(Failure::NotOffered)));
}

#[tokio::test]
async fn service_with_too_many_targets_asks_for_one_more_than_are_kept() {
    let records: Vec<_> = (0..1000)
        .map(|port| Record::from_rdata(fqdn("s.test"), 1, RData::SRV(SRV::new(0, 0, port, fqdn("a.test")))))
        .collect();
    assert_eq!(targets(&records).unwrap().len(), MAX_ADDRESSES + 1);
}

/// Name servers that nobody reaches: the port was free a moment ago, and a question to it is refused or lost.
async fn transport_error() -> ResolverConfig {
    let server = Server::start().await;
    server.config()
}

#[tokio::test]
async fn name_in_the_hosts_file_is_not_asked_for_in_dns() {
    let server = Server::start().await;
    server.addresses("catalog.test", 30, &["fd00::1"]);
    let mut hosts = Hosts::default();
    hosts.read_hosts_conf("10.0.0.7 catalog.test\n".as_bytes()).unwrap();
    let names = Names::new(server.config(), ResolverOpts::default(), hosts);
    assert_eq!(resolve(names, &name("catalog.test")).await.unwrap().sockets, sockets(&["10.0.0.7:9000"]));
}

#[tokio::test]
async fn short_name_in_the_hosts_file_is_found_without_a_name_server() {
    let mut config = transport_error().await;
    config.add_search(Name::from_ascii("svc.cluster.test").unwrap());
    let mut options = ResolverOpts::default();
    options.ndots = 5;
    let mut hosts = Hosts::default();
    hosts.read_hosts_conf("10.0.0.7 catalog\n".as_bytes()).unwrap();
    let names = Names::new(config, options, hosts);
    assert_eq!(resolve(names, &name("catalog")).await.unwrap().sockets, sockets(&["10.0.0.7:9000"]));
}

#[tokio::test]
async fn localhost_is_found_without_a_name_server() {
    let names = Names::new(transport_error().await, ResolverOpts::default(), Hosts::default());
    let answer = resolve(names, &name("localhost")).await.unwrap();
    assert!(answer.sockets.contains(&(Ipv4Addr::LOCALHOST, 9000).into()), "{answer:?}");
}

#[tokio::test]
async fn localhost_is_found_without_a_configuration_of_name_servers() {
    let answer = resolve(Err(NetError::Message("none")), &name("localhost")).await.unwrap();
    assert!(answer.sockets.iter().any(|socket| socket.ip().is_loopback() && socket.port() == 9000), "{answer:?}");
    assert_eq!(answer.ttl, UNKNOWN_TTL);
}

#[tokio::test]
async fn service_without_a_configuration_of_name_servers_is_a_failure() {
    let result = resolve(Err(NetError::Message("none")), &service("_grpc._tcp.catalog.test")).await;
    assert!(matches!(result, Err(Failure::NoNameServers(_))));
}

#[tokio::test]
async fn localhost_is_found_as_the_system_is_configured() {
    let answer = by_servers(&name("localhost"), &[]).await.unwrap();
    assert!(answer.sockets.iter().all(|socket| socket.ip().is_loopback() && socket.port() == 9000), "{answer:?}");
}

#[tokio::test]
async fn watch_follows_a_name_server_through_changes_and_keeps_addresses_through_failures() {
    let server = Arc::new(Server::start().await);
    let asked = Arc::clone(&server);
    server.addresses("catalog.test", 1, &["10.0.0.1"]);
    let url = Arc::new(Url::parse("http://catalog.test:9000").unwrap());
    let dns = Dns::start(url, move || {
        let server = Arc::clone(&asked);
        async move { resolve(Ok(names(&server)), &name("catalog.test")).await }
    });
    let mut watch = dns.watch();
    let mut next = async || {
        watch.changed().await.unwrap();
        watch.borrow_and_update().iter().map(|found| found.address.socket).collect::<Vec<_>>()
    };
    assert_eq!(next().await, sockets(&["10.0.0.1:9000"]));
    server.addresses("catalog.test", 1, &["10.0.0.2"]);
    assert_eq!(next().await, sockets(&["10.0.0.2:9000"]));

    // One resolution meets two errors at most; with the third the one before was handled.
    server.fail("catalog.test", RecordType::A, ResponseCode::ServFail);
    server.errors(3).await;
    server.addresses("catalog.test", 1, &["10.0.0.3"]);
    assert_eq!(next().await, sockets(&["10.0.0.3:9000"]), "nothing came in between");

    server.forget("catalog.test");
    server.errors(3).await;
    server.addresses("catalog.test", 1, &["10.0.0.4"]);
    assert_eq!(next().await, sockets(&["10.0.0.4:9000"]), "nothing came in between");
}
