//! TLS for tests: authorities, what they sign, files that are replaced, and connections that tell which certificate was shown.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Collected, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName},
};
use std::{fs, net::SocketAddr, path::Path, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An authority that signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate for this machine, and its key.
pub(crate) struct Identity {
    pub certificate: String,
    pub key: String,
    /// The certificate as it is shown.
    pub der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let signed = params.signed_by(&key, &self.0)?;
        Ok(Identity { certificate: signed.pem(), key: key.serialize_pem(), der: signed.der().clone() })
    }
}

/// What vouches for peers: these authorities.
pub(crate) fn roots(authorities: &[&Authority]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.0.der().clone())?;
    }
    Ok(roots)
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Replaces a file as managers of certificates do: the next one is written aside and takes its name.
pub(crate) fn replace(file: &Path, text: &str) -> Result<()> {
    let next = file.with_added_extension("next");
    fs::write(&next, text)?;
    Ok(fs::rename(&next, file)?)
}

/// Which version of HTTP a connection is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Http {
    One,
    Two,
}

/// A connection over TLS that is kept.
pub(crate) struct Connection {
    /// The certificate that was shown.
    pub shown: CertificateDer<'static>,
    sender: Sender,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Connects to a server that the authority vouches for.
    pub(crate) async fn open(address: SocketAddr, authority: &Authority, http: Http) -> Result<Self> {
        let trust = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let mut trust = trust.with_root_certificates(roots(&[authority])?).with_no_client_auth();
        let alpn: &[u8] = if matches!(http, Http::One) { b"http/1.1" } else { b"h2" };
        trust.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost")?;
        let stream = TlsConnector::from(Arc::new(trust)).connect(name, stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).context("a certificate")?;
        let shown = shown.clone().into_owned();
        let sender = match http {
            Http::One => {
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                Sender::One(sender)
            }
            Http::Two => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                Sender::Two(sender)
            }
        };
        Ok(Self { shown, sender })
    }

    /// Sends a request, and reads the whole answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Collected<Bytes>>> {
        let response = match &mut self.sender {
            Sender::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            bail!("{} {:?}", head.status, body.collect().await?.to_bytes());
        }
        Ok(Response::from_parts(head, body.collect().await?))
    }
}
