//! An API server of Kubernetes on loopback that answers each request as a test says.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

/// No step of a test takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

type Body = BoxBody<Bytes, io::Error>;

/// The server.
#[derive(Debug)]
pub struct Server {
    /// Where it serves.
    pub url: String,
    address: SocketAddr,
    asked: mpsc::Receiver<Asked>,
    task: JoinSet<()>,
}

/// A request that came.
#[derive(Debug)]
pub struct Asked {
    request: Request<Incoming>,
    reply: oneshot::Sender<Response<Body>>,
}

/// A watch that goes on until it is dropped.
#[derive(Debug)]
pub struct Watch(mpsc::Sender<io::Result<Frame<Bytes>>>);

impl Server {
    /// One that speaks plaintext.
    pub async fn start() -> Self {
        Self::with(None).await
    }

    /// One that speaks TLS where there is some.
    pub async fn with(tls: Option<TlsAcceptor>) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), tls).await
    }

    /// Another one at the same address, without TLS, once [`Server::stop`] has ended this one.
    pub async fn at_address(address: SocketAddr) -> Self {
        Self::at(address, None).await
    }

    /// Ends it with all its connections, and says where it was.
    pub async fn stop(mut self) -> SocketAddr {
        self.task.shutdown().await;
        self.address
    }

    async fn at(address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port of loopback");
        let address = listener.local_addr().expect("an address");
        let host = if tls.is_some() { "https://localhost" } else { "http://127.0.0.1" };
        let url = format!("{host}:{}", address.port());
        let (sender, asked) = mpsc::channel(100);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (tls, sender) = (tls.clone(), sender.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(socket, sender).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(socket).await {
                                serve(stream, sender).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url, address, asked, task }
    }

    /// The next request.
    ///
    /// # Panics
    /// Where none comes.
    pub async fn next(&mut self) -> Asked {
        timeout(PATIENCE, self.asked.recv()).await.expect("no request came").expect("a server that runs")
    }

    /// The next request, which has to be for a list; it is answered with these slices.
    ///
    /// # Panics
    /// Where it is for something else, or none comes.
    pub async fn list(&mut self, version: &str, slices: &[Value]) {
        let asked = self.next().await;
        assert_eq!(asked.query("watch"), None, "a list");
        asked.answer(&json!({"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
            "metadata": {"resourceVersion": version}, "items": slices}));
    }

    /// The next request, which has to be for a watch from this version on.
    ///
    /// # Panics
    /// Where it is for something else, or none comes.
    pub async fn watch(&mut self, version: &str) -> Watch {
        let asked = self.next().await;
        assert_eq!(asked.query("watch").as_deref(), Some("true"));
        assert_eq!(asked.query("resourceVersion").as_deref(), Some(version));
        asked.watch()
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, sender: mpsc::Sender<Asked>) {
    let service = service_fn(|request| {
        let sender = sender.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            sender.send(Asked { request, reply }).await.expect("a server that runs");
            // Who drops the request lets its connection break.
            answer.await
        }
    });
    // A broken connection is the client's to notice.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Asked {
    /// Its path.
    pub fn path(&self) -> &str {
        self.request.uri().path()
    }

    /// A parameter of its query.
    pub fn query(&self, name: &str) -> Option<String> {
        let query = self.request.uri().query().unwrap_or_default();
        let pairs: HashMap<_, _> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        pairs.get(name).map(|value| percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
    }

    /// Its credential.
    pub fn authorization(&self) -> Option<&str> {
        self.request.headers().get(header::AUTHORIZATION)?.to_str().ok()
    }

    /// The object that it brings.
    ///
    /// # Panics
    /// Where it brings none.
    pub async fn object(&mut self) -> Value {
        let body = self.request.body_mut().collect().await.expect("a whole body");
        serde_json::from_slice(&body.to_bytes()).expect("JSON")
    }

    /// Answers it with this object.
    pub fn answer(self, body: &Value) {
        self.reply(StatusCode::OK, body);
    }

    /// Refuses it, as the API server does.
    ///
    /// # Panics
    /// Where the code is none of HTTP.
    pub fn refuse(self, code: u16, reason: &str) {
        self.reply(StatusCode::from_u16(code).expect("a status"), &status(code, reason));
    }

    fn reply(self, code: StatusCode, body: &Value) {
        let body = Full::from(body.to_string()).map_err(|never: Infallible| match never {}).boxed();
        let response = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
        let _ = self.reply.send(response.body(body).expect("a response"));
    }

    /// Answers it with events to come.
    pub fn watch(self) -> Watch {
        let (sender, events) = mpsc::channel(100);
        let body = BodyExt::boxed(StreamBody::new(ReceiverStream::new(events)));
        let _ = self.reply.send(Response::new(body));
        Watch(sender)
    }
}

/// What the API server says when it refuses.
pub fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason,
        "reason": reason, "code": code})
}

impl Watch {
    /// Says what became of an object.
    ///
    /// # Panics
    /// Where the client has left.
    pub async fn event(&self, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.0.send(Ok(Frame::data(line.into()))).await.expect("a client that watches");
    }

    /// Says up to which version there was nothing else.
    pub async fn bookmark(&self, version: &str) {
        let object = json!({"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
            "metadata": {"resourceVersion": version, "creationTimestamp": null}});
        self.event("BOOKMARK", &object).await;
    }

    /// Breaks the connection.
    ///
    /// # Panics
    /// Where the client has left.
    pub async fn cut(self) {
        self.0.send(Err(io::ErrorKind::ConnectionReset.into())).await.expect("a client that watches");
    }
}

/// An `EndpointSlice` of the namespace `shop`, as of a version: ready endpoints at these addresses, with this port `grpc`.
pub fn slice(name: &str, version: &str, port: u16, addresses: &[String]) -> Value {
    let endpoint = |address: &String| json!({"addresses": [address], "conditions": {"ready": true}});
    json!({
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": version},
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "grpc", "port": port, "protocol": "TCP"}],
    })
}
