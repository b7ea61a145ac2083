//! An HTTP/2 server that does what a test says, call by call.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// No step of a test takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Tells a connection to finish its calls and take no more; it says when it has begun with it.
type Leave = oneshot::Sender<()>;

/// The server.
pub(crate) struct Server {
    pub url: String,
    calls: mpsc::Receiver<Received>,
    connections: Arc<Mutex<Vec<mpsc::Sender<Leave>>>>,
    serving: AbortHandle,
}

/// A call that arrived.
pub(crate) struct Received {
    /// On which connection, counted from 0.
    pub connection: usize,
    pub request: Request<RecvStream>,
    pub respond: SendResponse<Bytes>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Builder::new(), None).await
    }

    pub(crate) async fn with_streams(most: u32) -> Self {
        let mut builder = Builder::new();
        builder.max_concurrent_streams(most);
        Self::with(builder, None).await
    }

    pub(crate) async fn with(builder: Builder, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let (sender, calls) = mpsc::channel(100_000);
        let connections = Arc::<Mutex<Vec<_>>>::default();
        let known = Arc::clone(&connections);
        let accepting = async move {
            let mut served = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).unwrap();
                let (tell, told) = mpsc::channel(1);
                let index = {
                    let mut known = known.lock().unwrap();
                    known.push(tell);
                    known.len() - 1
                };
                let (builder, sender) = (builder.clone(), sender.clone());
                match &tls {
                    None => _ = served.spawn(serve(socket, builder, index, sender, told)),
                    Some(tls) => {
                        let accepting = tls.accept(socket);
                        served.spawn(async move {
                            if let Ok(stream) = accepting.await {
                                serve(stream, builder, index, sender, told).await;
                            }
                        });
                    }
                }
            }
        };
        let serving = tokio::spawn(accepting).abort_handle();
        Self { url, calls, connections, serving }
    }

    /// What ends it when it is aborted: its listener and all of its connections are closed, as when a process dies.
    pub(crate) fn life(&self) -> AbortHandle {
        self.serving.clone()
    }

    /// The next call.
    pub(crate) async fn next(&mut self) -> Received {
        timeout(PATIENCE, self.calls.recv()).await.expect("no call came").unwrap()
    }

    /// Whether no call is there that was not looked at.
    pub(crate) fn is_quiet(&self) -> bool {
        self.calls.is_empty()
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    /// Lets a connection finish its calls and take no more.
    pub(crate) async fn leave(&self, connection: usize) {
        let tell = self.connections.lock().unwrap()[connection].clone();
        let (leave, begun) = oneshot::channel();
        tell.send(leave).await.unwrap();
        begun.await.unwrap();
    }

    /// Answers all calls from now on, each with its own message, but for those that were cancelled.
    pub(crate) fn echo(mut self) {
        tokio::spawn(async move {
            while let Some(mut call) = self.calls.recv().await {
                tokio::spawn(async move {
                    if let Ok(message) = call.body().await {
                        let _ = call.try_answer(&message);
                    }
                });
            }
        });
    }
}

async fn serve<S>(
    stream: S,
    builder: Builder,
    index: usize,
    calls: mpsc::Sender<Received>,
    mut told: mpsc::Receiver<Leave>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                let _ = calls.send(Received { connection: index, request, respond }).await;
            }
            Some(begun) = told.recv() => {
                connection.graceful_shutdown();
                let _ = begun.send(());
            }
        }
    }
}

impl Received {
    /// All of the request's body.
    pub(crate) async fn body(&mut self) -> Result<Bytes, h2::Error> {
        let mut whole = Vec::new();
        let body = self.request.body_mut();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            whole.extend_from_slice(&data);
        }
        Ok(whole.into())
    }

    /// The answer's head; its body is still to come.
    pub(crate) fn head(&mut self) -> SendStream<Bytes> {
        self.head_with(HeaderMap::new())
    }

    pub(crate) fn head_with(&mut self, metadata: HeaderMap) -> SendStream<Bytes> {
        self.try_head_with(metadata).unwrap()
    }

    fn try_head_with(&mut self, metadata: HeaderMap) -> Result<SendStream<Bytes>, h2::Error> {
        let mut head = Response::new(());
        *head.headers_mut() = metadata;
        head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        self.respond.send_response(head, false)
    }

    /// OK, with bytes that are a message with its prefix.
    pub(crate) fn answer(&mut self, framed: &[u8]) {
        self.try_answer(framed).unwrap();
    }

    /// The same to a call that may have been cancelled by now.
    pub(crate) fn try_answer(&mut self, framed: &[u8]) -> Result<(), h2::Error> {
        let mut stream = self.try_head_with(HeaderMap::new())?;
        stream.send_data(Bytes::copy_from_slice(framed), false)?;
        stream.send_trailers(trailers("0", &[]))
    }

    /// An error in the head.
    pub(crate) fn fail(&mut self, code: &'static str, metadata: &[(&'static str, &'static str)]) {
        let mut head = Response::new(());
        *head.headers_mut() = trailers(code, metadata);
        head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        self.respond.send_response(head, true).unwrap();
    }

    /// Waits until the caller has given the call up, and says with which code.
    pub(crate) async fn given_up(&mut self) -> Reason {
        timeout(PATIENCE, poll_fn(|context| self.respond.poll_reset(context))).await.expect("no reset came").unwrap()
    }
}

pub(crate) fn trailers(code: &'static str, metadata: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    for (name, value) in metadata {
        trailers.insert(*name, HeaderValue::from_static(value));
    }
    trailers
}
