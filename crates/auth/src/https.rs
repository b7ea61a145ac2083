//! Requests to issuers and to the API server of Kubernetes: a connection each, bounded in time and in size. No redirect is followed,
//! since who redirects chooses whom is believed.

use std::{path::PathBuf, sync::Arc, time::Duration};

use accord_runtime::{
    reload::Reloading,
    tls::{ClientTlsConfig, TlsError},
};
use http::{HeaderValue, Method, Request, Uri, header, uri::Scheme};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

/// How long one request may take, from the connection to the last byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer, in bytes: sets of keys are a few kilobytes, with certificates tens of them.
const LARGEST: usize = 256 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpsError {
    /// Nobody can be asked by that.
    #[error("it is no URL that can be asked")]
    Url,
    /// The connection failed.
    #[error("no connection: {0}")]
    Connection(#[from] std::io::Error),
    /// It answered with something else than HTTP, or broke off.
    #[error("no answer in HTTP: {0}")]
    Protocol(#[from] hyper::Error),
    /// Longer than any answer that is waited for.
    #[error("the answer is longer than 256 KiB, or broke off")]
    Body,
    /// It took too long.
    #[error("no answer within 5 s")]
    Timeout,
    /// It says no.
    #[error("the answer is {0}")]
    Status(u16),
}

/// A client.
pub(crate) struct HttpsClient(Arc<Reloading<ClientConfig>>);

impl HttpsClient {
    /// One that trusts these authorities, or the system's.
    pub(crate) fn new(ca_file: Option<PathBuf>) -> Result<Self, TlsError> {
        Ok(Self(ClientTlsConfig { ca_file, ..ClientTlsConfig::default() }.load()?))
    }

    /// What is there.
    pub(crate) async fn get(&self, url: &Uri, token: Option<&str>) -> Result<Bytes, HttpsError> {
        self.send(Method::GET, url, token, Bytes::new()).await
    }

    /// What comes back for JSON.
    pub(crate) async fn post(&self, url: &Uri, token: Option<&str>, json: String) -> Result<Bytes, HttpsError> {
        self.send(Method::POST, url, token, json.into()).await
    }

    async fn send(&self, method: Method, url: &Uri, token: Option<&str>, body: Bytes) -> Result<Bytes, HttpsError> {
        let (host, path) = (url.host().ok_or(HttpsError::Url)?, url.path_and_query().ok_or(HttpsError::Url)?);
        let authority = url.authority().ok_or(HttpsError::Url)?;
        let request = Request::builder()
            .method(method)
            .uri(path.as_str())
            .header(header::HOST, authority.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json");
        let mut request = request.body(Full::new(body)).map_err(|_| HttpsError::Url)?;
        let is_encrypted = url.scheme() == Some(&Scheme::HTTPS);
        if let Some(token) = token {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| HttpsError::Url)?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let port = url.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
        let exchanged = async {
            let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
            if is_encrypted {
                exchange(self.encrypted(host, stream).await?, request).await
            } else {
                exchange(stream, request).await
            }
        };
        timeout(REQUEST_TIMEOUT, exchanged).await.map_err(|_elapsed| HttpsError::Timeout)?
    }

    async fn encrypted(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<impl AsyncRead + AsyncWrite + use<>, HttpsError> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_| HttpsError::Url)?;
        let mut config = ClientConfig::clone(&self.0.get());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Bytes, HttpsError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with this function.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        return Err(HttpsError::Status(response.status().as_u16()));
    }
    let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(|_| HttpsError::Body)?;
    Ok(body.to_bytes())
}
