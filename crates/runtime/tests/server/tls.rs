//! TLS from files that change while they are used, and peers that must show who they are.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use accord_runtime::{
    server::{ListenConfig, TlsConfig},
    tls::ClientTlsConfig,
};
use accord_test_certificates::roots;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    probe::{Port, serve},
    wire::{END_HEADERS, END_STREAM, HEADERS, Wire, block, frame},
};

const PATIENCE: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(100);

/// A certificate authority and the files of what it has signed.
struct Authority {
    directory: TempDir,
    issuer: accord_test_certificates::Authority,
}

impl Authority {
    fn new() -> Self {
        let issuer = accord_test_certificates::Authority::named("authority");
        let authority = Self { directory: tempfile::tempdir().unwrap(), issuer };
        fs::write(authority.file("ca.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a certificate for localhost, and its key, into the files of another authority or its own.
    fn sign_into(&self, certificate: &Path, key: &Path) {
        self.issuer.issue(&["localhost"]).write(certificate, key);
    }

    async fn serve(&self, client_ca_file: Option<PathBuf>) -> Port {
        self.serve_with(ListenConfig::default(), client_ca_file).await
    }

    async fn serve_with(&self, config: ListenConfig, client_ca_file: Option<PathBuf>) -> Port {
        let (cert_file, key_file) = (self.file("server.pem"), self.file("server.key"));
        self.sign_into(&cert_file, &key_file);
        let reload_interval = Duration::from_millis(1);
        let tls = TlsConfig {
            cert_file: Some(cert_file),
            key_file: Some(key_file),
            client_ca_file,
            reload_interval,
            ..TlsConfig::default()
        };
        serve(&ListenConfig { tls: Some(tls), ..config }, GRACE).await
    }

    fn trust(&self) -> ClientTlsConfig {
        ClientTlsConfig { ca_file: Some(self.file("ca.pem")), ..ClientTlsConfig::default() }
    }

    fn client(&self, port: &Port) -> Caller {
        Caller { address: port.address, tls: self.trust() }
    }
}

/// Who calls a port, and whom it trusts.
struct Caller {
    address: SocketAddr,
    tls: ClientTlsConfig,
}

/// Whether a call over a new connection comes through.
async fn reaches(Caller { address, tls }: &Caller) -> bool {
    let (address, tls) = (*address, TlsConnector::from(tls.load().unwrap().get()));
    let connector = tower::service_fn(move |_: http::Uri| {
        let tls = tls.clone();
        async move {
            let socket = TcpStream::connect(address).await?;
            tls.connect("localhost".try_into().unwrap(), socket).await.map(TokioIo::new)
        }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.is_ok()
}

#[tokio::test]
async fn tls_client_reaches_only_servers_of_its_authority() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let port = ours.serve(None).await;
    assert!(reaches(&ours.client(&port)).await);
    let astray = Caller { tls: theirs.trust(), ..ours.client(&port) };
    assert!(!reaches(&astray).await);
}

/// Whether the first call is answered of a connection that was accepted so long before a drain begins, and encrypted after that.
async fn first_call_in_a_drain_is_answered(age: Duration) -> bool {
    let authority = Authority::new();
    let port = authority.serve(None).await;
    let socket = TcpStream::connect(port.address).await.unwrap();
    // A call on a later connection shows that the one before has been taken.
    assert!(reaches(&authority.client(&port)).await);
    tokio::time::pause();
    tokio::time::advance(age).await;
    tokio::time::resume();

    port.shutdown.begin();
    let tls = TlsConnector::from(authority.trust().load().unwrap().get());
    let socket = timeout(PATIENCE, tls.connect("localhost".try_into().unwrap(), socket)).await.unwrap().unwrap();
    // The server ends the handshake as well, and would ask an idle connection to go.
    tokio::task::yield_now().await;
    let mut wire = Wire::begin(socket, &[]).await;
    wire.say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block("Answer"))).await;
    wire.next(HEADERS).await.is_some()
}

#[tokio::test]
async fn first_call_over_tls_of_a_connection_that_was_open_when_the_drain_began_is_answered() {
    assert!(first_call_in_a_drain_is_answered(Duration::ZERO).await);
}

#[tokio::test]
async fn first_call_after_a_handshake_that_took_long_is_answered_in_a_drain() {
    // Longer than a first call is waited for.
    assert!(first_call_in_a_drain_is_answered(Duration::from_secs(2)).await);
}

#[tokio::test]
async fn certificate_that_changes_is_reloaded() {
    let (old, new) = (Authority::new(), Authority::new());
    let port = old.serve(None).await;
    let trusts_new = Caller { tls: new.trust(), ..old.client(&port) };
    assert!(!reaches(&trusts_new).await);

    new.sign_into(&old.file("server.pem"), &old.file("server.key"));
    let reloaded = async { while !reaches(&trusts_new).await {} };
    timeout(PATIENCE, reloaded).await.expect("the new certificate is shown");
    assert!(!reaches(&old.client(&port)).await);
}

#[tokio::test]
async fn mutual_tls_client_shows_its_certificate() {
    let ours = Authority::new();
    let port = ours.serve(Some(ours.file("ca.pem"))).await;
    assert!(!reaches(&ours.client(&port)).await);

    let (cert, key) = (ours.file("client.pem"), ours.file("client.key"));
    ours.sign_into(&cert, &key);
    let tls = ClientTlsConfig { cert_file: Some(cert), key_file: Some(key), ..ours.trust() };
    let known = Caller { tls, ..ours.client(&port) };
    assert!(reaches(&known).await);

    let stranger = Authority::new();
    let (cert, key) = (stranger.file("client.pem"), stranger.file("client.key"));
    stranger.sign_into(&cert, &key);
    let tls = ClientTlsConfig { cert_file: Some(cert), key_file: Some(key), ..ours.trust() };
    let unknown = Caller { tls, ..ours.client(&port) };
    assert!(!reaches(&unknown).await);
}

#[tokio::test]
async fn client_without_alpn_is_served_by_its_first_bytes() {
    let ours = Authority::new();
    let port = ours.serve(None).await;
    let roots = roots([ours.issuer.der()]);
    let trust = Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    let connect = async || {
        let socket = TcpStream::connect(port.address).await.unwrap();
        TlsConnector::from(Arc::clone(&trust)).connect("localhost".try_into().unwrap(), socket).await.unwrap()
    };
    let mut older = connect().await;
    older.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, older.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let mut newer = Wire::begin(connect().await, &[]).await;
    newer.say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block("Answer"))).await;
    assert!(newer.next(HEADERS).await.is_some());
}

#[tokio::test]
async fn bytes_that_are_no_tls_handshake_are_cut() {
    let ours = Authority::new();
    let port = ours.serve_with(ListenConfig { header_timeout: SHORT, ..ListenConfig::default() }, None).await;
    // Silence, half a handshake, and no TLS at all.
    for said in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"] {
        let mut socket = TcpStream::connect(port.address).await.unwrap();
        socket.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("an end");
        assert!(!answer.starts_with(b"HTTP"), "{said:?} was answered");
    }
    assert!(reaches(&ours.client(&port)).await);
}

#[tokio::test]
async fn drain_does_not_wait_for_a_handshake() {
    let ours = Authority::new();
    let port = ours.serve_with(ListenConfig { header_timeout: PATIENCE * 2, ..ListenConfig::default() }, None).await;
    let silent = TcpStream::connect(port.address).await.unwrap();
    // The listener accepts in turn: when a later one has been served, the silent one has been accepted.
    assert!(reaches(&ours.client(&port)).await);
    port.shutdown.begin();
    timeout(PATIENCE, port.served).await.expect("the drain ends").unwrap();
    drop(silent);
}

#[tokio::test]
async fn files_that_are_missing_are_named() {
    let missing = PathBuf::from("nowhere/server.pem");
    let tls = TlsConfig { cert_file: Some(missing.clone()), key_file: Some(missing), ..TlsConfig::default() };
    let config = ListenConfig { tls: Some(tls), ..ListenConfig::default() };
    let error = accord_runtime::server::Listener::bind(&config).await.err().unwrap().to_string();
    assert!(error.contains("nowhere/server.pem") && error.contains("check the path"), "{error}");
}

#[tokio::test]
async fn files_that_do_not_go_together_are_named() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (cert_file, key_file) = (ours.file("server.pem"), theirs.file("server.key"));
    ours.sign_into(&cert_file, &ours.file("server.key"));
    theirs.sign_into(&theirs.file("server.pem"), &key_file);
    let names = [cert_file.display().to_string(), key_file.display().to_string()];
    let tls = TlsConfig { cert_file: Some(cert_file), key_file: Some(key_file), ..TlsConfig::default() };
    let config = ListenConfig { tls: Some(tls), ..ListenConfig::default() };
    let error = accord_runtime::server::Listener::bind(&config).await.err().unwrap().to_string();
    assert!(names.iter().all(|name| error.contains(name)), "{error}");
}
