//! One request of a case, and its whole answer: whether what is fast is right as well.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request as HttpRequest, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{
    client::conn,
    rt::{Read, Write},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{
    certificate::NAME,
    load::{Protocol, Request},
};

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    trailers: HeaderMap,
    body: Bytes,
}

/// Sends a request on a connection of its own.
pub(super) async fn ask(address: SocketAddr, request: &Request) -> Result<Answer> {
    let socket = TcpStream::connect(address).await?;
    let Some(trusted) = &request.trusted else { return exchange(TokioIo::new(socket), address, request).await };
    let mut config = ClientConfig::clone(trusted);
    config.alpn_protocols = vec![if request.protocol.is_http1() { b"http/1.1".into() } else { b"h2".into() }];
    let socket = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME)?, socket).await?;
    exchange(TokioIo::new(socket), address, request).await
}

async fn exchange(
    socket: impl Read + Write + Unpin + Send + 'static,
    address: SocketAddr,
    request: &Request,
) -> Result<Answer> {
    let method = if request.body.is_some() { Method::POST } else { Method::GET };
    let mut head = HttpRequest::builder().method(method);
    for (name, value) in request.headers() {
        head = head.header(name, value);
    }
    let body = Full::new(Bytes::from(request.body.clone().unwrap_or_default()));
    let response = if request.protocol.is_http1() {
        let (mut sender, connection) = conn::http1::handshake(socket).await?;
        tokio::spawn(connection);
        sender.send_request(head.uri(&request.path).header("host", address.to_string()).body(body)?).await?
    } else {
        let (mut sender, connection) = conn::http2::handshake(TokioExecutor::new(), socket).await?;
        tokio::spawn(connection);
        let scheme = if request.trusted.is_some() { "https" } else { "http" };
        sender.send_request(head.uri(format!("{scheme}://{address}{}", request.path)).body(body)?).await?
    };
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(Answer { status: head.status, headers: head.headers, trailers, body: body.to_bytes() })
}

impl Answer {
    /// Fails unless it says what another one says.
    pub(super) fn ensure_same(&self, other: &Self, protocol: Protocol) -> Result<()> {
        if matches!(protocol, Protocol::Http1 | Protocol::Http2) {
            let (own, others) = (self.json()?, other.json()?);
            ensure!(own == others, "the documents differ: {own} and {others}");
        } else {
            let (own, others) = (self.message(protocol), other.message(protocol));
            ensure!(own == others, "the messages differ: {own:?} and {others:?}");
        }
        Ok(())
    }

    /// Fails unless it is a success.
    pub(super) fn ensure_ok(&self, protocol: Protocol) -> Result<()> {
        ensure!(
            self.status == StatusCode::OK,
            "the status is {}: {}",
            self.status,
            String::from_utf8_lossy(&self.body)
        );
        if protocol == Protocol::GrpcWeb {
            let trailers: Vec<u8> = self.body[self.message(protocol).len()..].to_ascii_lowercase();
            let is_ok = [&b"grpc-status:0"[..], b"grpc-status: 0"].iter().any(|ok| holds(&trailers, ok, 1));
            ensure!(is_ok, "the call failed: {:?}", self.body);
        }
        if protocol == Protocol::Grpc {
            let status = self.trailers.get("grpc-status").or_else(|| self.headers.get("grpc-status"));
            ensure!(
                status.is_some_and(|status| status == "0"),
                "the call failed: {:?} {:?}",
                self.headers,
                self.trailers
            );
        }
        Ok(())
    }

    /// The body, without the trailers that gRPC-Web has in it: one frame, whose length stands before it.
    fn message(&self, protocol: Protocol) -> &[u8] {
        match &self.body[..] {
            [_, a, b, c, d, ..] if protocol == Protocol::GrpcWeb => {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                &self.body[..(5 + length).min(self.body.len())]
            }
            body => body,
        }
    }

    /// Whether the body has these bytes so many times.
    pub(super) fn holds(&self, bytes: &[u8], times: usize) -> bool {
        holds(&self.body, bytes, times)
    }

    /// What the cache has to say.
    pub(super) fn cache_status(&self) -> Result<&str> {
        self.headers.get("cache-status").context("the answer has no cache-status")?.to_str().context("cache-status")
    }

    fn json(&self) -> Result<Value> {
        match serde_json::from_slice(&self.body) {
            Ok(document) => Ok(document),
            Err(problem) => bail!("no JSON ({problem}): {}", String::from_utf8_lossy(&self.body)),
        }
    }
}

fn holds(body: &[u8], bytes: &[u8], times: usize) -> bool {
    body.windows(bytes.len()).filter(|window| *window == bytes).count() == times
}
