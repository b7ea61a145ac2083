//! Who a client is by the certificate that it shows, and which certificates are refused.

use std::{convert::Infallible, fs, net::SocketAddr, sync::Arc, time::Duration, time::SystemTime};

use accord_runtime::{
    client_identity::IdentityName,
    server::{ClientCertificate, ListenConfig, Listener, Peer, TlsConfig},
    shutdown::Shutdown,
};
use accord_test_log::Log;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::service_fn;

const PATIENCE: Duration = Duration::from_secs(20);
const PAY: &str = "spiffe://prod.example/ns/shop/sa/pay";

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn issuer(name: &str) -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of these names, until this moment, and its key, in PEM.
fn issue(issuer: &Issuer, names: Vec<SanType>, ends: SystemTime) -> (String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    (params.subject_alt_names, params.not_after) = (names, ends.into());
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn later() -> SystemTime {
    SystemTime::now() + Duration::from_hours(1)
}

/// A port that answers with what it knows of who asks.
struct Door {
    address: SocketAddr,
    issuer: Issuer,
    _directory: TempDir,
}

impl Door {
    async fn open(client_certificate: ClientCertificate) -> Self {
        let (issuer, directory) = (issuer("ours"), tempfile::tempdir().unwrap());
        let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| directory.path().join(name));
        let own = issue(&issuer, vec![SanType::DnsName("localhost".try_into().unwrap())], later());
        fs::write(&ca, issuer.pem()).unwrap();
        fs::write(&cert, own.0).unwrap();
        fs::write(&key, own.1).unwrap();
        let tls = TlsConfig {
            cert_file: Some(cert),
            key_file: Some(key),
            client_ca_file: Some(ca),
            client_certificate,
            ..TlsConfig::default()
        };
        // An idle connection goes for no other reason in the time of a test.
        let config = ListenConfig { tls: Some(tls), header_timeout: PATIENCE * 3, ..ListenConfig::default() };
        let listener = Listener::bind(&config).await.unwrap().identifying_clients(Some(IdentityName::SpiffeId));
        let address = listener.address();
        let service = service_fn(async |request: Request<Incoming>| {
            let certificate = request.extensions().get::<Peer>().unwrap().certificate.clone();
            let said = certificate.map(|it| it.map_or_else(|why| why.to_string(), |it| it.as_str().to_owned()));
            Ok::<_, Infallible>(Response::new(Full::from(said.unwrap_or_default())))
        });
        tokio::spawn(listener.serve(service, Shutdown::new(Duration::from_secs(1))));
        Self { address, issuer, _directory: directory }
    }

    /// How somebody connects who shows this certificate.
    fn client(&self, shown: Option<&(String, String)>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = rustls::pki_types::CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }

    async fn connect(&self, client: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.address).await?;
        client.connect("localhost".try_into().unwrap(), socket).await
    }

    /// Whom the port takes the client for; None where it is refused.
    async fn known_as(&self, client: &TlsConnector) -> Option<String> {
        let mut stream = self.connect(client).await.ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        // In TLS 1.3 a client hears only then that its certificate is refused.
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an end").ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    async fn known_by(&self, shown: Option<&(String, String)>) -> Option<String> {
        self.known_as(&self.client(shown)).await
    }
}

#[tokio::test]
async fn client_is_known_by_the_spiffe_id_of_its_certificate() {
    for mode in [ClientCertificate::Required, ClientCertificate::Optional] {
        let door = Door::open(mode).await;
        let shown = issue(&door.issuer, vec![uri(PAY)], later());
        assert_eq!(door.known_by(Some(&shown)).await.as_deref(), Some(PAY), "{mode:?}");
    }
}

#[tokio::test]
async fn client_without_a_certificate_is_let_in_where_it_is_optional() {
    let (required, optional) =
        (Door::open(ClientCertificate::Required).await, Door::open(ClientCertificate::Optional).await);
    assert_eq!(required.known_by(None).await, None);
    assert_eq!(optional.known_by(None).await.as_deref(), Some(""));
}

#[tokio::test]
async fn certificate_with_two_uris_says_of_nobody_who_they_are() {
    let door = Door::open(ClientCertificate::Optional).await;
    let shown = issue(&door.issuer, vec![uri(PAY), uri("spiffe://prod.example/other")], later());
    let known = door.known_by(Some(&shown)).await.expect("it is a good certificate");
    assert!(known.contains("several names"), "{known}");
}

#[tokio::test]
async fn certificate_that_has_ended_or_is_of_another_authority_is_refused_and_logged() {
    for (mode, why) in
        [(ClientCertificate::Required, "UnknownIssuer"), (ClientCertificate::Optional, "certificate expired")]
    {
        let log = Log::default();
        let _guard = log.start();
        let door = Door::open(mode).await;
        let shown = if why == "UnknownIssuer" {
            issue(&issuer("theirs"), vec![uri(PAY)], later())
        } else {
            issue(&door.issuer, vec![uri(PAY)], SystemTime::now() - Duration::from_mins(1))
        };
        assert_eq!(door.known_by(Some(&shown)).await, None, "{why}");
        let text = log.text();
        assert!(text.contains("refused for its client's certificate") && text.contains(why), "{text}");
        assert_eq!(text.matches("WARN").count(), 1, "{text}");
    }
}

#[tokio::test]
async fn certificate_is_verified_with_each_connection_and_no_session_is_resumed() {
    let door = Door::open(ClientCertificate::Required).await;
    let shown = issue(&door.issuer, vec![uri(PAY)], later());
    let client = door.client(Some(&shown));
    assert!(door.known_as(&client).await.is_some());
    let again = door.connect(&client).await.unwrap();
    assert_eq!(again.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
}

#[tokio::test]
async fn connection_goes_when_the_certificate_of_its_client_ends() {
    let door = Door::open(ClientCertificate::Required).await;
    let shown = issue(&door.issuer, vec![uri(PAY)], SystemTime::now() + Duration::from_secs(5));
    let mut stream = door.connect(&door.client(Some(&shown))).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the connection goes").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}
