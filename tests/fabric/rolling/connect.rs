//! How a client connects: in plain text, or over TLS with what holds at that moment.

use std::{io, net::SocketAddr, sync::Arc};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
};
use tokio_rustls::TlsConnector;

/// Which authorities are trusted and which certificate is shown, now.
pub(super) type Trust = watch::Receiver<Arc<ClientConfig>>;

/// What a connection goes over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where connections lead to.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    pub address: SocketAddr,
    /// None where it is in plain text.
    pub trust: Option<Trust>,
}

impl Connector {
    /// A new connection for this protocol, as ALPN names it.
    pub(super) async fn connect(&self, alpn: &[u8]) -> io::Result<TokioIo<Box<dyn Stream>>> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let Some(trust) = &self.trust else { return Ok(TokioIo::new(Box::new(socket))) };
        let mut config = ClientConfig::clone(&trust.borrow());
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::IpAddress(self.address.ip().into());
        let encrypted = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
        Ok(TokioIo::new(Box::new(encrypted)))
    }

    /// How URLs of it begin.
    pub(super) fn scheme(&self) -> &'static str {
        if self.trust.is_some() { "https" } else { "http" }
    }
}
