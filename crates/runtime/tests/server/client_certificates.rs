//! Who a client is by the certificate that it shows, and which certificates are refused.

use std::{convert::Infallible, fs, net::SocketAddr, sync::Arc, time::Duration, time::SystemTime};

use accord_runtime::{
    client_identity::IdentityName,
    server::{ClientCertificate, ListenConfig, Listener, Peer, TlsConfig},
    shutdown::Shutdown,
};
use accord_test_certificates::{Authority, Identity, roots};
use accord_test_log::Log;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use rustls::{ClientConfig, HandshakeKind};
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

/// A port that answers with what it knows of who asks.
struct Door {
    address: SocketAddr,
    authority: Authority,
    directory: TempDir,
}

impl Door {
    async fn open(client_certificate: ClientCertificate) -> Self {
        Self::open_for(client_certificate, None).await
    }

    /// The same for clients of these names alone.
    async fn open_for(client_certificate: ClientCertificate, names: Option<&str>) -> Self {
        let (authority, directory) = (Authority::named("ours"), tempfile::tempdir().unwrap());
        let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| directory.path().join(name));
        fs::write(&ca, authority.pem()).unwrap();
        authority.issue(&["localhost"]).write(&cert, &key);
        let tls = TlsConfig {
            cert_file: Some(cert),
            key_file: Some(key),
            client_ca_file: Some(ca),
            client_certificate,
            client_names_file: names.map(|names| {
                let file = directory.path().join("names");
                fs::write(&file, names).unwrap();
                file
            }),
            reload_interval: Duration::from_millis(10),
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
        Self { address, authority, directory }
    }

    /// How somebody connects who shows this certificate.
    fn client(&self, shown: Option<&Identity>) -> TlsConnector {
        let builder = ClientConfig::builder().with_root_certificates(roots([self.authority.der()]));
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(shown) => builder.with_client_auth_cert(vec![shown.der.clone()], shown.key_der()).unwrap(),
        };
        TlsConnector::from(Arc::new(config))
    }

    /// Puts another file in the place of one of the port's.
    fn replace(&self, name: &str, text: &str) {
        let (file, next) = (self.directory.path().join(name), self.directory.path().join("next"));
        fs::write(&next, text).unwrap();
        fs::rename(next, file).unwrap();
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

    async fn known_by(&self, shown: Option<&Identity>) -> Option<String> {
        self.known_as(&self.client(shown)).await
    }
}

#[tokio::test]
async fn client_is_known_by_the_spiffe_id_of_its_certificate() {
    for mode in [ClientCertificate::Required, ClientCertificate::Optional] {
        let door = Door::open(mode).await;
        let shown = door.authority.issue(&[PAY]);
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
    let shown = door.authority.issue(&[PAY, "spiffe://prod.example/other"]);
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
            Authority::named("theirs").issue(&[PAY])
        } else {
            door.authority.issue_until(&[PAY], SystemTime::now() - Duration::from_mins(1))
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
    let shown = door.authority.issue(&[PAY]);
    let client = door.client(Some(&shown));
    assert!(door.known_as(&client).await.is_some());
    let again = door.connect(&client).await.unwrap();
    assert_eq!(again.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
}

#[tokio::test]
async fn connection_goes_when_the_certificate_of_its_client_ends() {
    let door = Door::open(ClientCertificate::Required).await;
    let shown = door.authority.issue_until(&[PAY], SystemTime::now() + Duration::from_secs(5));
    let mut stream = door.connect(&door.client(Some(&shown))).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the connection goes").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn client_of_a_listed_name_is_let_in_and_another_is_refused_and_logged() {
    let log = Log::default();
    let _guard = log.start();
    let names = "# the shop\nspiffe://prod.example/ns/shop/*\ndns:accord-cache\n";
    let door = Door::open_for(ClientCertificate::Required, Some(names)).await;
    for names in [vec![PAY], vec!["Accord-Cache", "accord-cache.accord"]] {
        assert!(door.known_by(Some(&door.authority.issue(&names))).await.is_some(), "{names:?}");
    }
    assert_eq!(log.count("WARN"), 1, "one has no SPIFFE id, which is no refusal: {}", log.text());
    let other = "spiffe://prod.example/ns/other/sa/pay";
    for names in [vec![other, "accord-cache.accord"], vec!["shop.example"], Vec::new()] {
        assert_eq!(door.known_by(Some(&door.authority.issue(&names))).await, None, "{names:?}");
    }
    let text = log.text();
    let (why, who) = ("none of them is in `client_names_file`; add one there", "spiffe://prod.example/ns/other/sa/pay");
    assert!(text.contains(why) && text.contains(who), "{text}");
    assert_eq!(log.count("WARN"), 2, "a client can't fill the log: {text}");
}

#[tokio::test]
async fn certificate_of_another_authority_is_refused_though_its_name_is_listed() {
    let door = Door::open_for(ClientCertificate::Required, Some(PAY)).await;
    assert_eq!(door.known_by(Some(&Authority::named("theirs").issue(&[PAY]))).await, None);
}

#[tokio::test]
async fn list_of_clients_is_followed() {
    let door = Door::open_for(ClientCertificate::Optional, Some(PAY)).await;
    let (pay, cart) = (door.authority.issue(&[PAY]), door.authority.issue(&["spiffe://prod.example/cart"]));
    assert_eq!(door.known_by(Some(&cart)).await, None);
    door.replace("names", "spiffe://prod.example/cart");
    let let_in = async { while door.known_by(Some(&cart)).await.is_none() {} };
    timeout(PATIENCE, let_in).await.expect("the list is taken over");
    assert_eq!(door.known_by(Some(&pay)).await, None, "it is not listed any more");
    assert_eq!(door.known_by(None).await.as_deref(), Some(""), "a certificate is optional");
}

#[tokio::test]
async fn list_of_clients_that_cannot_be_read_holds_up_no_renewed_certificate() {
    let door = Door::open_for(ClientCertificate::Required, Some(PAY)).await;
    let (pay, cart) = (door.authority.issue(&[PAY]), door.authority.issue(&["spiffe://prod.example/cart"]));
    let shown = async || {
        let stream = door.connect(&door.client(Some(&pay))).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].as_ref().to_vec()
    };
    let before = shown().await;
    door.replace("names", "spiffe://prod.example/cart\nnot a name\n");
    let renewed = door.authority.issue(&["localhost"]);
    door.replace("key.pem", &renewed.key);
    door.replace("cert.pem", &renewed.certificate);
    let taken_over = async { while shown().await == before {} };
    timeout(PATIENCE, taken_over).await.expect("the certificate is taken over");
    assert!(door.known_by(Some(&pay)).await.is_some(), "the list before is in use");
    assert_eq!(door.known_by(Some(&cart)).await, None);
}
