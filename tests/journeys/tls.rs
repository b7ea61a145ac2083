//! Connections over TLS that tell which certificate was shown.

use accord_fabric::certificates::provider;
use accord_test_certificates::{Authority, Identity, roots};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Collected, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName},
};
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The names of this machine: certificates of servers that tests start are for them.
pub(crate) const HERE: [&str; 2] = ["localhost", "127.0.0.1"];

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
        Self::open_as(address, authority, http, None).await
    }

    /// The same with a certificate of the client's own.
    pub(crate) async fn open_as(
        address: SocketAddr,
        authority: &Authority,
        http: Http,
        client: Option<&Identity>,
    ) -> Result<Self> {
        let trust = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let trust = trust.with_root_certificates(roots([authority.der()]));
        let mut trust = match client {
            None => trust.with_no_client_auth(),
            Some(client) => trust.with_client_auth_cert(vec![client.der.clone()], client.key_der())?,
        };
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

    /// Sends a request, and reads the whole answer, which has to be a success.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Collected<Bytes>>> {
        let response = self.exchange(request).await?;
        if !response.status().is_success() {
            bail!("{} {:?}", response.status(), response.into_body().to_bytes());
        }
        Ok(response)
    }

    /// Sends a request, and reads the whole answer, whatever it is.
    pub(crate) async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Collected<Bytes>>> {
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
        Ok(Response::from_parts(head, body.collect().await?))
    }
}
