//! A bare HTTP/2 client, which shows what a generated one hides.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinHandle};

/// One connection.
pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    closed: JoinHandle<Result<(), hyper::Error>>,
}

impl Connection {
    /// Connects without TLS.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap()).await
    }

    /// Speaks over a socket that is connected.
    pub(crate) async fn over(socket: TcpStream) -> Self {
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        Self { sender, closed: tokio::spawn(connection) }
    }

    /// Calls a method of the probe with these headers; the answer's head.
    pub(crate) async fn call(&self, method: &str, headers: &[(&str, &str)]) -> hyper::Result<Response<Incoming>> {
        let mut sender = self.sender.clone();
        sender.ready().await?;
        sender.send_request(request(method, headers)).await
    }

    /// Begins a call of a method of the probe; its status.
    pub(crate) fn begin(&self, method: &str) -> JoinHandle<tonic::Status> {
        let (mut sender, request) = (self.sender.clone(), request(method, &[]));
        tokio::spawn(async move { status(sender.send_request(request).await.unwrap()).await })
    }

    /// Ends when the server has closed the connection.
    pub(crate) async fn closed(self) {
        let Self { sender, closed } = self;
        let _ = closed.await.unwrap();
        drop(sender);
    }
}

/// A request for a method of the probe.
pub(crate) fn request(method: &str, headers: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let path = if method.starts_with('/') { method.to_owned() } else { format!("/probe.v1.Probe/{method}") };
    let request = Request::post(format!("http://probe{path}"))
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc");
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(Empty::new()).unwrap()
}

/// The status of an answer, from its head or from its trailers; panics when the body breaks.
pub(crate) async fn status<B>(response: Response<B>) -> tonic::Status
where
    B: http_body::Body,
    B::Error: std::fmt::Debug,
{
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let of = |headers: &HeaderMap| tonic::Status::from_header_map(headers);
    of(&head.headers).or_else(|| of(&trailers)).expect("a status in head or trailers")
}
