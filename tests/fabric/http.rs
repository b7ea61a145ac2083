//! A small HTTP/1.1 client: one connection per call, nothing hidden, nothing retried.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpSocket, time::timeout};

/// The longest that a call may take, so that a test that hangs says where.
const BOUND: Duration = Duration::from_secs(30);

/// A call being put together.
#[must_use]
pub struct HttpCall {
    address: SocketAddr,
    from: Option<IpAddr>,
    request: http::request::Builder,
    body: Bytes,
}

/// What came back.
#[derive(Debug)]
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl HttpCall {
    /// A call of a path, `/` first, query included.
    pub fn new(address: SocketAddr, method: Method, path: &str) -> Self {
        let request = Request::builder().method(method).uri(path).header(header::HOST, address.to_string());
        Self { address, from: None, request, body: Bytes::new() }
    }

    /// Adds a header; a repeated name is sent twice.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Presents an access token.
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Connects from this address of the machine.
    pub fn from(mut self, address: IpAddr) -> Self {
        self.from = Some(address);
        self
    }

    /// Sends a JSON document.
    pub fn json(self, document: &Value) -> Self {
        self.body("application/json", document.to_string())
    }

    /// Sends a body.
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.request = self.request.header(header::CONTENT_TYPE, content_type);
        self.body = body.into();
        self
    }

    /// Sends it, and reads the whole answer.
    pub async fn send(self) -> Result<HttpResponse> {
        timeout(BOUND, self.exchange()).await.with_context(|| format!("no whole answer within {BOUND:?}"))?
    }

    async fn exchange(self) -> Result<HttpResponse> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(self.address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let request = self.request.body(Full::new(self.body))?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        driver.abort();
        Ok(HttpResponse { status: head.status, headers: head.headers, body })
    }
}

impl HttpResponse {
    /// The body as a JSON document.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, where it came and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
