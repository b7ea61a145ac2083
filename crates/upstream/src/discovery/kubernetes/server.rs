//! An API server on loopback that answers each request as a test says.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
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
pub(super) struct Server {
    pub(super) url: String,
    asked: mpsc::Receiver<Asked>,
    _task: JoinSet<()>,
}

/// A request that came.
pub(super) struct Asked {
    request: Request<Incoming>,
    reply: oneshot::Sender<Response<Body>>,
}

/// A watch that goes on until it is dropped.
pub(super) struct Watch(mpsc::Sender<io::Result<Frame<Bytes>>>);

impl Server {
    pub(super) async fn start() -> Self {
        Self::with(None).await
    }

    pub(super) async fn with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = if tls.is_some() { format!("https://localhost:{port}") } else { format!("http://127.0.0.1:{port}") };
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
        Self { url, asked, _task: task }
    }

    /// The next request.
    pub(super) async fn next(&mut self) -> Asked {
        timeout(PATIENCE, self.asked.recv()).await.expect("no request came").unwrap()
    }

    /// The next request, which has to be for a list; it is answered with these slices.
    pub(super) async fn list(&mut self, version: &str, slices: &[Value]) {
        let asked = self.next().await;
        assert_eq!(asked.query("watch"), None, "a list");
        asked.answer(&json!({"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
            "metadata": {"resourceVersion": version}, "items": slices}));
    }

    /// The next request, which has to be for a watch from this version on.
    pub(super) async fn watch(&mut self, version: &str) -> Watch {
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
            sender.send(Asked { request, reply }).await.unwrap();
            // Who drops the request lets its connection break.
            answer.await
        }
    });
    // A broken connection is the client's to notice.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Asked {
    pub(super) fn path(&self) -> &str {
        self.request.uri().path()
    }

    pub(super) fn query(&self, name: &str) -> Option<String> {
        let query = self.request.uri().query().unwrap_or_default();
        let pairs: HashMap<_, _> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        pairs.get(name).map(|value| percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
    }

    pub(super) fn authorization(&self) -> Option<&str> {
        self.request.headers().get(header::AUTHORIZATION)?.to_str().ok()
    }

    pub(super) fn answer(self, body: &Value) {
        self.reply(StatusCode::OK, body);
    }

    /// Refuses it, as the API server does.
    pub(super) fn refuse(self, code: u16, reason: &str) {
        self.reply(StatusCode::from_u16(code).unwrap(), &status(code, reason));
    }

    fn reply(self, code: StatusCode, body: &Value) {
        let body = Full::from(body.to_string()).map_err(|never: Infallible| match never {}).boxed();
        let response = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
        let _ = self.reply.send(response.body(body).unwrap());
    }

    pub(super) fn watch(self) -> Watch {
        let (sender, events) = mpsc::channel(100);
        let body = BodyExt::boxed(StreamBody::new(ReceiverStream::new(events)));
        let _ = self.reply.send(Response::new(body));
        Watch(sender)
    }
}

/// What the API server says when it refuses.
pub(super) fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason,
        "reason": reason, "code": code})
}

impl Watch {
    pub(super) async fn event(&self, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.0.send(Ok(Frame::data(line.into()))).await.unwrap();
    }

    pub(super) async fn bookmark(&self, version: &str) {
        let object = json!({"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
            "metadata": {"resourceVersion": version, "creationTimestamp": null}});
        self.event("BOOKMARK", &object).await;
    }

    /// Breaks the connection.
    pub(super) async fn cut(self) {
        self.0.send(Err(io::ErrorKind::ConnectionReset.into())).await.unwrap();
    }
}
