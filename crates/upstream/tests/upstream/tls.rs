//! Endpoints behind TLS.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use accord_upstream::{ConnectCause, TransportError, UpstreamConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::server::Server;
use crate::{answer, one_connection, transport_error, unary, upstream};

/// Who signs certificates.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server with a certificate for a name.
async fn server(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> Server {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    accord_runtime::tls::install_provider();
    let config = ServerConfig::builder().with_no_client_auth();
    let mut config = config.with_single_cert(vec![certificate.into()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Server::with(h2::server::Builder::new(), Some(TlsAcceptor::from(Arc::new(config)))).await
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

/// Why no connection is made to a server with a certificate of `signer` for `name`, by a caller that trusts `authority`.
async fn refused(
    authority: &CertifiedIssuer<'static, KeyPair>,
    signer: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
) -> TransportError {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    fs::write(&file, authority.pem()).unwrap();
    let server = server(signer, name).await;
    let outcome = unary(&upstream(&server.url, trusting(&file))).await.unwrap();
    assert!(server.is_quiet(), "it gets no call");
    transport_error(&outcome.result.unwrap_err())
}

#[tokio::test]
async fn endpoint_of_another_authority_is_untrusted_and_gets_no_call() {
    let untrusted = refused(&authority(), &authority(), "127.0.0.1").await;
    assert_eq!(untrusted, TransportError::Connect(ConnectCause::Untrusted));
}

#[tokio::test]
async fn endpoint_of_another_name_is_told_so_and_gets_no_call() {
    let ours = authority();
    assert_eq!(refused(&ours, &ours, "shop.example").await, TransportError::Connect(ConnectCause::WrongName));
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
    assert_eq!(transport_error(&outcome.result.unwrap_err()), TransportError::Connect(ConnectCause::NotTls));
}
