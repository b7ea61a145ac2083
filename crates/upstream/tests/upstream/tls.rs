//! Endpoints behind TLS.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use accord_runtime::tls::HandshakeFailure;
use accord_test_certificates::{Authority, Identity, roots};
use accord_test_log::Log;
use accord_upstream::{ConnectCause, TransportError, UpstreamConfig};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::server::Server;
use crate::{answer, one_connection, transport_error, unary, upstream};

fn authority() -> Authority {
    Authority::named("ours")
}

fn before() -> SystemTime {
    SystemTime::now() - Duration::from_mins(1)
}

/// A server with this certificate, which asks its clients for one of these authorities, if there are any.
async fn showing(own: &Identity, clients: Option<RootCertStore>) -> Server {
    accord_runtime::tls::install_provider();
    let builder = ServerConfig::builder();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(vec![own.der.clone()], own.key_der()).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Server::with(h2::server::Builder::new(), Some(TlsAcceptor::from(Arc::new(config)))).await
}

/// A server with a certificate for a name.
async fn server(authority: &Authority, name: &str) -> Server {
    showing(&authority.issue(&[name]), None).await
}

fn trusting(file: &Path) -> impl FnOnce(&mut UpstreamConfig) {
    move |config| {
        one_connection(config);
        config.tls.ca_file = Some(file.to_owned());
    }
}

#[tokio::test]
async fn endpoint_whose_certificate_is_of_the_authority_and_the_name_is_called() {
    let directory = tempfile::tempdir().unwrap();
    let (file, authority) = (directory.path().join("ca.pem"), authority());
    fs::write(&file, authority.pem()).unwrap();
    let mut server = server(&authority, "127.0.0.1").await;
    let call = unary(&upstream(&server.url, trusting(&file)));
    let mut received = server.next().await;
    assert_eq!(received.request.uri().scheme_str(), Some("https"));
    received.answer(&[0; 5]);
    answer(call.await.unwrap());
}

/// Why no connection is made to a server by a caller that trusts this authority, and shows this certificate.
async fn refused(authority: &Authority, server: Server, shown: Option<Identity>) -> HandshakeFailure {
    let directory = tempfile::tempdir().unwrap();
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| directory.path().join(name));
    fs::write(&ca, authority.pem()).unwrap();
    let upstream = upstream(&server.url, |config| {
        trusting(&ca)(config);
        if let Some(shown) = &shown {
            shown.write(&cert, &key);
            (config.tls.cert_file, config.tls.key_file) = (Some(cert.clone()), Some(key.clone()));
        }
    });
    let log = Log::default();
    let _guard = log.start();
    let outcome = unary(&upstream).await.unwrap();
    assert!(server.is_quiet(), "it gets no call");
    let TransportError::Connect(ConnectCause::Handshake(failure)) = transport_error(&outcome.result.unwrap_err())
    else {
        panic!("TLS refuses");
    };
    let text = log.text();
    assert!(text.contains(&failure.to_string()) && text.contains(failure.remedy()), "{text}");
    failure
}

/// Why a server whose clients are to be of our authority lets nobody in who shows this.
async fn client_refused(shown: impl FnOnce(&Authority) -> Option<Identity>) -> HandshakeFailure {
    let ours = authority();
    let server = showing(&ours.issue(&["127.0.0.1"]), Some(roots([ours.der()]))).await;
    refused(&ours, server, shown(&ours)).await
}

#[tokio::test]
async fn endpoint_of_another_authority_is_untrusted_and_gets_no_call() {
    let theirs = server(&Authority::named("theirs"), "127.0.0.1").await;
    assert_eq!(refused(&authority(), theirs, None).await, HandshakeFailure::Untrusted);
}

#[tokio::test]
async fn endpoint_of_another_name_is_told_so_and_gets_no_call() {
    let ours = authority();
    let server = server(&ours, "shop.example").await;
    assert_eq!(refused(&ours, server, None).await, HandshakeFailure::WrongName);
}

#[tokio::test]
async fn endpoint_whose_certificate_has_ended_is_told_so_and_gets_no_call() {
    let ours = authority();
    let server = showing(&ours.issue_until(&["127.0.0.1"], before()), None).await;
    assert_eq!(refused(&ours, server, None).await, HandshakeFailure::Expired);
}

#[tokio::test]
async fn own_certificate_that_has_ended_is_told_as_such_when_it_is_refused() {
    let failure = client_refused(|ours| Some(ours.issue_until(&["gateway"], before()))).await;
    assert_eq!(failure, HandshakeFailure::ClientExpired);
}

#[tokio::test]
async fn own_certificate_of_another_authority_is_told_as_such_when_it_is_refused() {
    let failure = client_refused(|_| Some(Authority::named("theirs").issue(&["gateway"]))).await;
    assert_eq!(failure, HandshakeFailure::ClientUntrusted);
}

#[tokio::test]
async fn missing_certificate_is_told_as_such_where_one_is_demanded() {
    assert_eq!(client_refused(|_| None).await, HandshakeFailure::NoClientCertificate);
}

#[tokio::test]
async fn endpoint_that_speaks_tls_is_told_so_where_it_is_called_in_plaintext() {
    let server = server(&authority(), "127.0.0.1").await;
    let plain = server.url.replace("https://", "http://");
    let outcome = unary(&upstream(&plain, one_connection)).await.unwrap();
    assert_eq!(transport_error(&outcome.result.unwrap_err()), TransportError::Connect(ConnectCause::Tls));
}

#[tokio::test]
async fn endpoint_that_speaks_plaintext_is_told_so_where_it_is_called_with_tls() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    fs::write(&file, authority().pem()).unwrap();
    let server = Server::with(h2::server::Builder::new(), None).await;
    let encrypted = server.url.replace("http://", "https://");
    let outcome = unary(&upstream(&encrypted, trusting(&file))).await.unwrap();
    assert_eq!(
        transport_error(&outcome.result.unwrap_err()),
        TransportError::Connect(ConnectCause::Handshake(HandshakeFailure::NotTls))
    );
}
