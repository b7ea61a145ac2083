//! Channels to other services: connected when first used, kept alive, TLS from files that are re-read on change.

use std::{io, sync::Arc, time::Duration};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig as RustlsConfig, pki_types::ServerName};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::{
    config::bound,
    reload::Reloading,
    tls::{ClientFiles, TlsError},
};

/// How another service is reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// Address such as `http://127.0.0.1:8090` or `https://auth.example:8090`. Default none.
    pub url: String,
    /// What it is verified against, and what is shown to it. Default none.
    pub tls: ClientFiles,
    /// Time for a connection to stand, TLS included. Default 2s.
    #[serde(with = "bound::duration")]
    pub connect_timeout: Duration,
    /// Silence on the connection after which the server is pinged. Default 10s.
    #[serde(with = "bound::duration")]
    pub keepalive_interval: Duration,
    /// Time for the answer to a ping; then the connection is given up. Default 5s.
    #[serde(with = "bound::duration")]
    pub keepalive_timeout: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            tls: ClientFiles::default(),
            connect_timeout: Duration::from_secs(2),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
        }
    }
}

/// Why a channel can't be made. Whether the other side is there shows only when the channel is used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not a URL of a scheme that is spoken.
    #[error(
        "{0:?} is not an address of a service; write it like http://127.0.0.1:8090 or https://auth.example:8090, with \
         nothing after the port"
    )]
    Url(String),
    /// TLS files for a plaintext address.
    #[error("TLS files are given for {0:?}, which is plaintext; write https:// or leave the files out")]
    Plaintext(String),
    /// The TLS files are unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A channel as `config` says. It connects when it is first used, and again after a connection is lost.
pub fn channel(config: &ClientConfig) -> Result<Channel, ClientError> {
    let uri: Uri = config.url.parse().map_err(|_| ClientError::Url(config.url.clone()))?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme));
    // A method's path takes the place of any other, which would be lost without a word.
    let bare = uri.path_and_query().is_none_or(|rest| rest == "/");
    let (Some(scheme), Some(host), true) = (scheme, uri.host(), bare) else {
        return Err(ClientError::Url(config.url.clone()));
    };
    config.tls.identity()?;
    if scheme == "http" {
        return if config.tls.is_empty() {
            Ok(endpoint(uri, config).connect_lazy())
        } else {
            Err(ClientError::Plaintext(config.url.clone()))
        };
    }
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
    let name = name.map_err(|_| TlsError::Name(host.to_owned()))?;
    Ok(encrypted(uri, config, name, Arc::new(config.tls.load()?)))
}

/// A channel to `url` with default settings.
pub fn lazy(url: &str) -> Result<Channel, ClientError> {
    channel(&ClientConfig { url: url.to_owned(), ..ClientConfig::default() })
}

fn endpoint(uri: Uri, config: &ClientConfig) -> Endpoint {
    Endpoint::from(uri)
        .connect_timeout(config.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        .keep_alive_while_idle(true)
        .http2_adaptive_window(true)
}

/// TLS by a connector of our own: tonic's reads its certificates once and never again.
fn encrypted(
    uri: Uri,
    config: &ClientConfig,
    name: ServerName<'static>,
    trust: Arc<Reloading<RustlsConfig>>,
) -> Channel {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(443);
    let connector = service_fn(move |_: Uri| {
        let (host, name, trust) = (host.clone(), name.clone(), trust.get());
        async move { connect((host, port), name, trust).await.map(TokioIo::new) }
    });
    // tonic refuses `https` where it doesn't do TLS itself, so it is told `http` and keeps the origin for its requests.
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    let inner = Uri::from_parts(parts).unwrap_or_else(|_| uri.clone());
    endpoint(inner, config).origin(uri).connect_with_connector_lazy(connector)
}

async fn connect(
    address: (String, u16),
    name: ServerName<'static>,
    trust: Arc<RustlsConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    TlsConnector::from(trust).connect(name, socket).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut ClientConfig)) -> String {
        let mut config = ClientConfig { url: "http://127.0.0.1:1".to_owned(), ..ClientConfig::default() };
        change(&mut config);
        channel(&config).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn what_is_refused_says_the_way_out() {
        assert!(lazy("http://127.0.0.1:8090").is_ok());
        assert!(refused(|config| config.url = "127.0.0.1:8090".into()).contains("write it like http://"));
        assert!(refused(|config| config.url = "ftp://host".into()).contains("write it like http://"));
        assert!(refused(|config| config.url = "http://host:1/path".into()).contains("nothing after the port"));
        assert!(refused(|config| config.tls.cert_file = Some("a.pem".into())).contains("give both or none"));
        assert!(refused(|config| config.tls.ca_file = Some("ca.pem".into())).contains("write https://"));
    }
}
