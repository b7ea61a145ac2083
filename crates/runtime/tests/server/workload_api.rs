//! Servers and clients whose certificates are from a SPIFFE Workload API.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration, time::SystemTime};

use accord_runtime::{
    client_identity::IdentityName,
    server::{ClientCertificate, ListenConfig, Listener, Peer, TlsConfig},
    shutdown::Shutdown,
    tls::ClientTlsConfig,
};
use accord_test_log::Log;
use accord_test_spiffe::{Agent, TrustDomain, unregistered};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::yield_now,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::service_fn;

const PATIENCE: Duration = Duration::from_secs(20);
const PAY: &str = "/ns/shop/sa/pay";
const CART: &str = "/ns/shop/sa/cart";

fn later() -> SystemTime {
    SystemTime::now() + Duration::from_hours(1)
}

/// A trust domain, and agents of it: one of the server, and one of the client.
struct Mesh {
    domain: TrustDomain,
    server: Agent,
    client: Agent,
    _directory: TempDir,
}

impl Mesh {
    fn new() -> Self {
        let (domain, directory) = (TrustDomain::new("prod.example"), tempfile::tempdir().unwrap());
        let agent = |name: &str, answer| Agent::start(&directory.path().join(name), answer);
        let of_server = Ok(domain.answer(&domain.issue(PAY, later(), &["localhost"]), &[]));
        let of_client = Ok(domain.answer(&domain.issue(CART, later(), &[]), &[]));
        let (server, client) = (agent("server", of_server), agent("client", of_client));
        Self { domain, server, client, _directory: directory }
    }

    async fn serve(&self, client_certificate: ClientCertificate) -> SocketAddr {
        let workload_api = Some(self.server.address());
        let tls = TlsConfig { workload_api, client_certificate, ..TlsConfig::default() };
        let config = ListenConfig { tls: Some(tls), ..ListenConfig::default() };
        let listener = Listener::bind(&config).await.unwrap().identifying_clients(Some(IdentityName::SpiffeId));
        let address = listener.address();
        let service = service_fn(async |request: Request<Incoming>| {
            let certificate = request.extensions().get::<Peer>().unwrap().certificate.clone();
            let said = certificate.map(|it| it.map_or_else(|why| why.to_string(), |it| it.as_str().to_owned()));
            Ok::<_, Infallible>(Response::new(Full::from(said.unwrap_or_default())))
        });
        tokio::spawn(listener.serve(service, Shutdown::new(Duration::from_secs(1))));
        address
    }

    fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig { workload_api: Some(self.client.address()), ..ClientTlsConfig::default() }
    }
}

async fn connect(client: &ClientTlsConfig, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    let mut config = (*client.load().unwrap().get()).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let socket = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), socket).await
}

async fn ask(stream: &mut TlsStream<TcpStream>, connection: &str) -> io::Result<String> {
    let request = format!("GET / HTTP/1.1\r\nhost: here\r\nconnection: {connection}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 1024];
    let length = timeout(PATIENCE, stream.read(&mut answer)).await.expect("an answer")?;
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Whom the server takes this client for; an error where one of them refuses the other.
async fn known_as(client: &ClientTlsConfig, address: SocketAddr) -> io::Result<String> {
    ask(&mut connect(client, address).await?, "close").await
}

/// The certificate that the server shows.
async fn shown(client: &ClientTlsConfig, address: SocketAddr) -> Vec<u8> {
    let stream = connect(client, address).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Waits until something is so, while the agent's news travel from its thread.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let waited = async {
        while !is_so().await {
            yield_now().await;
        }
    };
    timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn server_and_client_know_each_other_by_their_svids() {
    let mesh = Mesh::new();
    let address = mesh.serve(ClientCertificate::Required).await;
    assert_eq!(known_as(&mesh.client(), address).await.unwrap(), "spiffe://prod.example/ns/shop/sa/cart");
}

#[tokio::test]
async fn client_without_a_certificate_is_refused_unless_it_is_optional() {
    let mesh = Mesh::new();
    let bare = rustls::ClientConfig::builder().with_root_certificates({
        let mut roots = rustls::RootCertStore::empty();
        roots.add(mesh.domain.bundle().into()).unwrap();
        roots
    });
    let bare = TlsConnector::from(Arc::new(bare.with_no_client_auth()));
    for (mode, is_let_in) in [(ClientCertificate::Required, false), (ClientCertificate::Optional, true)] {
        let address = mesh.serve(mode).await;
        let socket = TcpStream::connect(address).await.unwrap();
        let mut stream = bare.connect("localhost".try_into().unwrap(), socket).await.unwrap();
        // In TLS 1.3 a client hears only then that it is refused.
        assert_eq!(ask(&mut stream, "close").await.is_ok(), is_let_in, "{mode:?}");
    }
}

#[tokio::test]
async fn renewed_svid_is_shown_to_new_connections_and_open_ones_go_on() {
    let mesh = Mesh::new();
    let address = mesh.serve(ClientCertificate::Required).await;
    let client = mesh.client();
    let mut kept = connect(&client, address).await.unwrap();
    for _ in 0..3 {
        let next = mesh.domain.issue(PAY, later(), &["localhost"]);
        mesh.server.say(Ok(mesh.domain.answer(&next, &[])));
        until("the next certificate is shown", async || shown(&client, address).await == next.certificate).await;
        assert_eq!(ask(&mut kept, "keep-alive").await.unwrap(), "spiffe://prod.example/ns/shop/sa/cart");
    }
}

#[tokio::test]
async fn renewed_svid_of_a_client_is_shown_by_the_configuration_that_it_has_loaded() {
    let mesh = Mesh::new();
    let address = mesh.serve(ClientCertificate::Required).await;
    let loaded = mesh.client().load().unwrap();
    let mut versions = loaded.versions();
    let next = mesh.domain.issue("/ns/shop/sa/next", later(), &[]);
    mesh.client.say(Ok(mesh.domain.answer(&next, &[])));
    timeout(PATIENCE, versions.changed()).await.expect("a change").unwrap();
    assert_eq!(known_as(&mesh.client(), address).await.unwrap(), "spiffe://prod.example/ns/shop/sa/next");
}

#[tokio::test]
async fn client_of_a_trust_domain_that_is_not_federated_is_refused_and_logged() {
    let log = Log::default();
    let _guard = log.start();
    let (ours, theirs) = (Mesh::new(), TrustDomain::new("other.example"));
    let address = ours.serve(ClientCertificate::Required).await;
    // It knows of the server's trust domain, and the server does not know of its.
    ours.client.say(Ok(theirs.answer(&theirs.issue(CART, later(), &[]), &[&ours.domain])));
    assert!(known_as(&ours.client(), address).await.is_err());
    let text = log.text();
    let why = "names no authorities of the trust domain of spiffe://other.example/ns/shop/sa/cart";
    assert!(text.contains("refused for its client's certificate") && text.contains(why), "{text}");
}

#[tokio::test]
async fn client_of_a_federated_trust_domain_is_known_by_its_svid() {
    let (ours, theirs) = (Mesh::new(), TrustDomain::new("other.example"));
    let own = ours.domain.issue(PAY, later(), &["localhost"]);
    ours.server.say(Ok(ours.domain.answer(&own, &[&theirs])));
    ours.client.say(Ok(theirs.answer(&theirs.issue(CART, later(), &[]), &[&ours.domain])));
    let address = ours.serve(ClientCertificate::Required).await;
    assert_eq!(known_as(&ours.client(), address).await.unwrap(), "spiffe://other.example/ns/shop/sa/cart");
}

#[tokio::test]
async fn federated_authority_vouches_for_nobody_of_the_own_trust_domain() {
    let (ours, theirs) = (Mesh::new(), TrustDomain::new("other.example"));
    let own = ours.domain.issue(PAY, later(), &["localhost"]);
    ours.server.say(Ok(ours.domain.answer(&own, &[&theirs])));
    let address = ours.serve(ClientCertificate::Required).await;
    let forged = theirs.issue_as("spiffe://prod.example/ns/shop/sa/cart", later(), &[]);
    ours.client.say(Ok(ours.domain.answer(&forged, &[])));
    assert!(known_as(&ours.client(), address).await.is_err());
}

#[tokio::test]
async fn server_that_is_called_by_a_name_its_svid_does_not_have_is_refused() {
    let mesh = Mesh::new();
    mesh.server.say(Ok(mesh.domain.answer(&mesh.domain.issue(PAY, later(), &["elsewhere"]), &[])));
    let address = mesh.serve(ClientCertificate::Required).await;
    let error = known_as(&mesh.client(), address).await.unwrap_err().to_string();
    assert!(error.contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn server_is_known_by_its_spiffe_id_where_ids_are_given() {
    let mesh = Mesh::new();
    mesh.server.say(Ok(mesh.domain.answer(&mesh.domain.issue(PAY, later(), &[]), &[])));
    let address = mesh.serve(ClientCertificate::Required).await;
    let of = |id: &str| ClientTlsConfig { server_spiffe_ids: vec![id.to_owned()], ..mesh.client() };
    assert!(known_as(&of("spiffe://prod.example/ns/shop/sa/pay"), address).await.is_ok());
    let refused = known_as(&of("spiffe://prod.example/ns/shop/sa/other"), address).await.unwrap_err().to_string();
    assert!(refused.contains("sa/pay is none of server_spiffe_ids"), "{refused}");
}

#[tokio::test]
async fn last_svid_stays_while_the_agent_is_gone_or_knows_the_workload_no_more() {
    let mut mesh = Mesh::new();
    let address = mesh.serve(ClientCertificate::Required).await;
    let client = mesh.client();
    assert!(known_as(&client, address).await.is_ok());
    let asked = mesh.server.asked();
    mesh.server.say(unregistered());
    // It asks again once it has heard that.
    timeout(PATIENCE, mesh.server.asked_after(asked)).await.expect("it asks again");
    assert!(known_as(&client, address).await.is_ok());
    let path = mesh.server.address().trim_start_matches("unix://").to_owned();
    let gone = std::mem::replace(&mut mesh.server, Agent::start((path.clone() + "-").as_ref(), unregistered()));
    drop(gone);
    assert!(known_as(&client, address).await.is_ok());
    // It comes back with another one.
    let next = mesh.domain.issue(PAY, later(), &["localhost"]);
    mesh.server = Agent::start(path.as_ref(), Ok(mesh.domain.answer(&next, &[])));
    until("the agent that is back is asked", async || shown(&client, address).await == next.certificate).await;
}
