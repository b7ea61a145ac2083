//! Scripted upstream: it replies as a test has scripted, and records what it received.

use accord_fabric::{Builder, Fabric, binaries::workspace};
use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    collections::VecDeque,
    convert::Infallible,
    future::pending,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tonic::{Code, Status, body::Body, service::Routes};

/// The policies under which the gateway serves it.
pub(crate) const OVERLAY: &str = "tests/journeys/echo/overlay.toml";

/// The longest that something may take to come to the upstream's notice.
const BOUND: Duration = Duration::from_secs(10);

/// A running upstream. Without a scripted reply it sends back what it received.
#[derive(Clone)]
pub(crate) struct ScriptedUpstream(Arc<State>);

struct State {
    url: String,
    script: Mutex<VecDeque<Reply>>,
    received: Mutex<Vec<ReceivedCall>>,
    counts: watch::Sender<Counts>,
    reflection: Routes,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    received: usize,
    cancelled: usize,
    /// Connections that were made, and those of them that ended.
    connected: usize,
    disconnected: usize,
}

/// A call as it was received.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedCall {
    /// Its metadata.
    pub headers: HeaderMap,
    /// Its whole body, frames and all.
    pub body: Bytes,
}

/// One reply.
#[derive(Clone, Default)]
pub(crate) struct Reply {
    head: HeaderMap,
    data: Vec<Bytes>,
    // Without an end the stream stays open.
    end: Option<HeaderMap>,
    barrier: Option<Arc<Notify>>,
    ahead: Option<Duration>,
    closes_connection: bool,
    refuses_stream: bool,
    is_early: bool,
    http: StatusCode,
}

impl Reply {
    /// Neither ends nor resets, after whatever else it says.
    pub(crate) fn unfinished() -> Self {
        Self::default()
    }

    /// Answers with an HTTP status, as what knows no gRPC does.
    pub(crate) fn http(status: StatusCode) -> Self {
        Self { http: status, ..Self::unfinished().message(&Bytes::from_static(b"<p>Sorry</p>")).without_status() }
    }

    /// Answers with one message.
    pub(crate) fn ok(message: &Bytes) -> Self {
        Self::unfinished().message(message).status(&Status::new(Code::Ok, ""))
    }

    /// Ends with a code, in the head alone.
    pub(crate) fn error(code: Code) -> Self {
        Self::unfinished().status(&Status::new(code, "as written"))
    }

    /// Says one more message before it ends.
    pub(crate) fn message(mut self, message: &Bytes) -> Self {
        self.data.push(message.clone());
        self
    }

    /// Ends without a status.
    pub(crate) fn without_status(mut self) -> Self {
        self.end = Some(HeaderMap::new());
        self
    }

    /// Closes the connection instead, with all its streams.
    pub(crate) fn closes_connection() -> Self {
        Self { closes_connection: true, ..Self::default() }
    }

    /// Refuses the stream instead (`REFUSED_STREAM`), as a server does that has not processed any of it.
    pub(crate) fn refuses_stream() -> Self {
        Self { refuses_stream: true, ..Self::default() }
    }

    /// Ends with this status.
    pub(crate) fn status(mut self, status: &Status) -> Self {
        let mut end = HeaderMap::new();
        status.add_header(&mut end).expect("a status is metadata");
        self.end = Some(end);
        self
    }

    /// Does not wait for the end of the request, of which nothing is received then.
    pub(crate) fn early(mut self) -> Self {
        self.is_early = true;
        self
    }

    /// Waits for a barrier before it begins.
    pub(crate) fn after(mut self, barrier: &Arc<Notify>) -> Self {
        self.barrier = Some(Arc::clone(barrier));
        self
    }

    /// Ends no sooner than this time before the deadline that it received.
    pub(crate) fn before_deadline(mut self, moment: Duration) -> Self {
        self.ahead = Some(moment);
        self
    }

    /// Says this in its head.
    pub(crate) fn head(mut self, name: &'static str, value: &'static str) -> Self {
        self.head.append(name, HeaderValue::from_static(value));
        self
    }

    /// Says this with its status.
    pub(crate) fn trailer(mut self, name: &'static str, value: &'static str) -> Self {
        self.end.get_or_insert_default().append(name, HeaderValue::from_static(value));
        self
    }
}

/// Counts a call that is cancelled before its reply has ended.
struct Caller {
    echo: ScriptedUpstream,
    stayed: bool,
}

impl Caller {
    fn stayed(mut self) {
        self.stayed = true;
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if !self.stayed {
            self.echo.0.counts.send_modify(|counts| counts.cancelled += 1);
        }
    }
}

impl ScriptedUpstream {
    /// Begins to serve.
    pub(crate) async fn start() -> Result<Self> {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    /// Begins to serve at an address.
    pub(crate) async fn start_at(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let echo = Self(Arc::new(State {
            url: format!("http://{}", listener.local_addr()?),
            script: Mutex::default(),
            received: Mutex::default(),
            counts: watch::Sender::default(),
            reflection: reflection()?,
        }));
        tokio::spawn(echo.clone().serve(listener));
        Ok(echo)
    }

    /// Where it serves.
    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    /// An upstream, and a fabric with it behind the gateway.
    pub(crate) async fn behind_gateway() -> Result<(Self, Fabric)> {
        let echo = Self::start().await?;
        let fabric = echo.behind()?.start().await?;
        Ok((echo, fabric))
    }

    /// The same under an overlay that declares little.
    pub(crate) async fn with_few_policies() -> Result<(Self, Fabric)> {
        let echo = Self::start().await?;
        let overlay = "tests/journeys/few_policies.toml";
        let fabric = Fabric::builder()?.upstream("echo", echo.url()).overlay(overlay).start().await?;
        Ok((echo, fabric))
    }

    /// A fabric with it behind the gateway.
    pub(crate) fn behind(&self) -> Result<Builder> {
        Ok(Fabric::builder()?.upstream("echo", &self.0.url).overlay(OVERLAY))
    }

    /// Adds replies, one for each call.
    pub(crate) fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.0.script.lock().expect("no panic").extend(replies);
    }

    /// The calls received since it was last asked. Replies that are left over are dropped.
    pub(crate) fn take_received(&self) -> Vec<ReceivedCall> {
        self.0.script.lock().expect("no panic").clear();
        std::mem::take(&mut *self.0.received.lock().expect("no panic"))
    }

    /// How many calls were cancelled before their replies had ended.
    pub(crate) fn calls_cancelled(&self) -> usize {
        self.0.counts.borrow().cancelled
    }

    /// How many calls were received since the start.
    pub(crate) fn calls_received(&self) -> usize {
        self.0.counts.borrow().received
    }

    /// How many connections were made since the start.
    pub(crate) fn connections_made(&self) -> usize {
        self.0.counts.borrow().connected
    }

    /// Waits until all connections have ended.
    pub(crate) async fn wait_disconnected(&self) -> Result<()> {
        self.until(|counts| counts.disconnected == counts.connected).await.context("its connections never ended")
    }

    /// Waits until so many calls were received since the start.
    pub(crate) async fn wait_received(&self, calls: usize) -> Result<()> {
        self.until(|counts| counts.received >= calls).await.with_context(|| format!("{calls} calls never came"))
    }

    /// Waits until so many calls were cancelled since the start.
    pub(crate) async fn wait_cancelled(&self, callers: usize) -> Result<()> {
        self.until(|counts| counts.cancelled >= callers)
            .await
            .with_context(|| format!("{callers} calls were never cancelled"))
    }

    async fn until(&self, wanted: impl Fn(&Counts) -> bool) -> Result<()> {
        timeout(BOUND, self.0.counts.subscribe().wait_for(wanted)).await?.map(drop).context("the upstream is gone")
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let (echo, cut) = (self.clone(), Arc::new(Notify::new()));
            let cutter = Arc::clone(&cut);
            let service = service_fn(move |request| echo.clone().call(request, Arc::clone(&cutter)));
            let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
            let echo = self.clone();
            echo.0.counts.send_modify(|counts| counts.connected += 1);
            tokio::spawn(async move {
                tokio::select! {
                    _ended = serving => {}
                    () = cut.notified() => {}
                }
                echo.0.counts.send_modify(|counts| counts.disconnected += 1);
            });
        }
    }

    async fn call(self, request: Request<Incoming>, cut: Arc<Notify>) -> Result<Response<Body>, h2::Error> {
        if !request.uri().path().starts_with("/echo.v1.EchoService/") {
            return Ok(tower::ServiceExt::oneshot(self.0.reflection.clone(), request)
                .await
                .unwrap_or_else(|never| match never {}));
        }
        let caller = Caller { echo: self.clone(), stayed: false };
        let (parts, body) = request.into_parts();
        let is_early = self.0.script.lock().expect("no panic").front().is_some_and(|reply| reply.is_early);
        let body =
            if is_early { Ok(Bytes::new()) } else { body.collect().await.map(http_body_util::Collected::to_bytes) };
        let Ok(body) = body else { return Ok(Response::new(Body::empty())) };
        let received = ReceivedCall { headers: parts.headers, body };
        let told = received.headers.get("grpc-timeout").and_then(told_timeout);
        let reply = self.0.script.lock().expect("no panic").pop_front().unwrap_or_else(|| repeat(&received));
        self.0.received.lock().expect("no panic").push(received);
        self.0.counts.send_modify(|counts| counts.received += 1);
        if let Some(barrier) = reply.barrier {
            barrier.notified().await;
        }
        if reply.refuses_stream {
            return Err(h2::Reason::REFUSED_STREAM.into());
        }
        if reply.closes_connection {
            cut.notify_one();
            return pending().await;
        }
        let rest = told.zip(reply.ahead).map_or(Duration::ZERO, |(told, ahead)| told.saturating_sub(ahead));
        match reply.end {
            None if reply.data.is_empty() => pending().await,
            Some(mut end) if reply.data.is_empty() => {
                sleep(rest).await;
                caller.stayed();
                end.extend(reply.head);
                Ok(respond(reply.http, end, Body::empty()))
            }
            end => Ok(respond(reply.http, reply.head, perform(reply.data, rest, end, caller))),
        }
    }
}

/// A `grpc-timeout` in the unit that carries the deadlines of the tests.
pub(crate) fn told_timeout(timeout: &HeaderValue) -> Option<Duration> {
    timeout.to_str().ok()?.strip_suffix('u')?.parse().ok().map(Duration::from_micros)
}

/// Sends back what it received.
fn repeat(received: &ReceivedCall) -> Reply {
    let mut reply = Reply::ok(&received.body);
    if let Some(encoding) = received.headers.get("grpc-encoding") {
        reply.head.insert("grpc-encoding", encoding.clone());
    }
    reply
}

fn perform(data: Vec<Bytes>, rest: Duration, end: Option<HeaderMap>, caller: Caller) -> Body {
    let last = async move {
        let Some(end) = end else { return pending().await };
        sleep(rest).await;
        caller.stayed();
        // Where there is nothing to say at the end, nothing is said: not even trailers without a word.
        Ok::<_, Infallible>(if end.is_empty() { Frame::data(Bytes::new()) } else { Frame::trailers(end) })
    };
    let data = stream::iter(data).map(|message| Ok(Frame::data(message)));
    Body::new(StreamBody::new(Box::pin(data.chain(stream::once(last)))))
}

fn respond(http: StatusCode, mut head: HeaderMap, body: Body) -> Response<Body> {
    head.entry("content-type").or_insert(HeaderValue::from_static("application/grpc"));
    let mut response = Response::new(body);
    *response.status_mut() = http;
    *response.headers_mut() = head;
    response
}

/// What the service is, told by server reflection.
pub(crate) fn reflection() -> Result<Routes> {
    let root = workspace();
    let mut compiler = protox::Compiler::new([root.join("tests/journeys/echo"), root.join("proto")])?;
    let files = compiler.include_imports(true).open_file("echo.proto")?.encode_file_descriptor_set();
    let builder = tonic_reflection::server::Builder::configure();
    Ok(Routes::new(builder.register_encoded_file_descriptor_set(&files).build_v1()?).prepare())
}
