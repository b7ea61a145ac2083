//! An upstream that answers as a story has written, and remembers what it was asked.

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

/// A running upstream. Without a line to say it answers with what it was sent.
#[derive(Clone)]
pub(crate) struct Echo(Arc<Stage>);

struct Stage {
    url: String,
    script: Mutex<VecDeque<Line>>,
    heard: Mutex<Vec<Heard>>,
    tally: watch::Sender<Tally>,
    reflection: Routes,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    heard: usize,
    left: usize,
}

/// A call as it came.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// Its metadata.
    pub headers: HeaderMap,
    /// Its whole body, frames and all.
    pub body: Bytes,
}

/// One answer.
#[derive(Clone, Default)]
pub(crate) struct Line {
    head: HeaderMap,
    data: Vec<Bytes>,
    // Without an end it falls silent.
    end: Option<HeaderMap>,
    cue: Option<Arc<Notify>>,
    ahead: Option<Duration>,
    hangs_up: bool,
    refuses: bool,
    http: StatusCode,
}

impl Line {
    /// Falls silent, after whatever else it is told to say.
    pub(crate) fn silent() -> Self {
        Self::default()
    }

    /// Answers with an HTTP status, as what knows no gRPC does.
    pub(crate) fn http(status: StatusCode) -> Self {
        Self { http: status, ..Self::silent().message(&Bytes::from_static(b"<p>Sorry</p>")).breaks_off() }
    }

    /// Answers with one message.
    pub(crate) fn says(message: &Bytes) -> Self {
        Self::silent().message(message).ends(&Status::new(Code::Ok, ""))
    }

    /// Fails with a code, in the head alone.
    pub(crate) fn fails(code: Code) -> Self {
        Self::silent().ends(&Status::new(code, "as written"))
    }

    /// Says one more message before it ends.
    pub(crate) fn message(mut self, message: &Bytes) -> Self {
        self.data.push(message.clone());
        self
    }

    /// Ends without a status.
    pub(crate) fn breaks_off(mut self) -> Self {
        self.end = Some(HeaderMap::new());
        self
    }

    /// Cuts the connection instead, with all that is said on it.
    pub(crate) fn hangs_up() -> Self {
        Self { hangs_up: true, ..Self::default() }
    }

    /// Refuses the stream instead, as a server does that has not begun with it.
    pub(crate) fn refuses() -> Self {
        Self { refuses: true, ..Self::default() }
    }

    /// Ends with this status.
    pub(crate) fn ends(mut self, status: &Status) -> Self {
        let mut end = HeaderMap::new();
        status.add_header(&mut end).expect("a status is metadata");
        self.end = Some(end);
        self
    }

    /// Waits for its cue before it says anything.
    pub(crate) fn on(mut self, cue: &Arc<Notify>) -> Self {
        self.cue = Some(Arc::clone(cue));
        self
    }

    /// Ends no sooner than when the deadline it was told is this near.
    pub(crate) fn ahead_of_deadline(mut self, moment: Duration) -> Self {
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

/// Counts a caller that leaves before its answer has ended.
struct Audience {
    echo: Echo,
    stayed: bool,
}

impl Audience {
    fn stayed(mut self) {
        self.stayed = true;
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        if !self.stayed {
            self.echo.0.tally.send_modify(|tally| tally.left += 1);
        }
    }
}

impl Echo {
    /// Begins to serve.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let echo = Self(Arc::new(Stage {
            url: format!("http://{}", listener.local_addr()?),
            script: Mutex::default(),
            heard: Mutex::default(),
            tally: watch::Sender::default(),
            reflection: reflection()?,
        }));
        tokio::spawn(echo.clone().serve(listener));
        Ok(echo)
    }

    /// Where it serves.
    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    /// A fabric with it behind the gateway.
    pub(crate) fn behind(&self) -> Result<Builder> {
        Ok(Fabric::builder()?.upstream("echo", &self.0.url).overlay(OVERLAY))
    }

    /// Gives it lines, to be said one for each call.
    pub(crate) fn script(&self, lines: impl IntoIterator<Item = Line>) {
        self.0.script.lock().expect("no panic").extend(lines);
    }

    /// What it has heard since it was last asked. Lines that nobody asked for are struck.
    pub(crate) fn take(&self) -> Vec<Heard> {
        self.0.script.lock().expect("no panic").clear();
        std::mem::take(&mut *self.0.heard.lock().expect("no panic"))
    }

    /// How many callers have left before their answers had ended.
    pub(crate) fn left(&self) -> usize {
        self.0.tally.borrow().left
    }

    /// How many calls have been heard since the beginning.
    pub(crate) fn heard(&self) -> usize {
        self.0.tally.borrow().heard
    }

    /// Waits until so many calls have been heard since the beginning.
    pub(crate) async fn until_heard(&self, calls: usize) -> Result<()> {
        self.until(|tally| tally.heard >= calls).await.with_context(|| format!("{calls} calls never came"))
    }

    /// Waits until so many callers have left since the beginning.
    pub(crate) async fn until_left(&self, callers: usize) -> Result<()> {
        self.until(|tally| tally.left >= callers).await.with_context(|| format!("{callers} callers never left"))
    }

    async fn until(&self, wanted: impl Fn(&Tally) -> bool) -> Result<()> {
        timeout(BOUND, self.0.tally.subscribe().wait_for(wanted)).await?.map(drop).context("the upstream is gone")
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let (echo, cut) = (self.clone(), Arc::new(Notify::new()));
            let cutter = Arc::clone(&cut);
            let service = service_fn(move |request| echo.clone().call(request, Arc::clone(&cutter)));
            let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move {
                tokio::select! {
                    _ended = serving => {}
                    () = cut.notified() => {}
                }
            });
        }
    }

    async fn call(self, request: Request<Incoming>, cut: Arc<Notify>) -> Result<Response<Body>, h2::Error> {
        if !request.uri().path().starts_with("/echo.v1.EchoService/") {
            return Ok(tower::ServiceExt::oneshot(self.0.reflection.clone(), request)
                .await
                .unwrap_or_else(|never| match never {}));
        }
        let audience = Audience { echo: self.clone(), stayed: false };
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return Ok(Response::new(Body::empty())) };
        let heard = Heard { headers: parts.headers, body: body.to_bytes() };
        let told = heard.headers.get("grpc-timeout").and_then(microseconds);
        let line = self.0.script.lock().expect("no panic").pop_front().unwrap_or_else(|| repeat(&heard));
        self.0.heard.lock().expect("no panic").push(heard);
        self.0.tally.send_modify(|tally| tally.heard += 1);
        if let Some(cue) = line.cue {
            cue.notified().await;
        }
        if line.refuses {
            return Err(h2::Reason::REFUSED_STREAM.into());
        }
        if line.hangs_up {
            cut.notify_one();
            return pending().await;
        }
        let rest = told.zip(line.ahead).map_or(Duration::ZERO, |(told, ahead)| told.saturating_sub(ahead));
        match line.end {
            None if line.data.is_empty() => pending().await,
            Some(mut end) if line.data.is_empty() => {
                sleep(rest).await;
                audience.stayed();
                end.extend(line.head);
                Ok(respond(line.http, end, Body::empty()))
            }
            end => Ok(respond(line.http, line.head, perform(line.data, rest, end, audience))),
        }
    }
}

/// A `grpc-timeout` in the unit that carries the deadlines of the stories.
fn microseconds(timeout: &HeaderValue) -> Option<Duration> {
    timeout.to_str().ok()?.strip_suffix('u')?.parse().ok().map(Duration::from_micros)
}

/// Says what it heard.
fn repeat(heard: &Heard) -> Line {
    let mut line = Line::says(&heard.body);
    if let Some(encoding) = heard.headers.get("grpc-encoding") {
        line.head.insert("grpc-encoding", encoding.clone());
    }
    line
}

fn perform(data: Vec<Bytes>, rest: Duration, end: Option<HeaderMap>, audience: Audience) -> Body {
    let last = async move {
        let Some(end) = end else { return pending().await };
        sleep(rest).await;
        audience.stayed();
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
fn reflection() -> Result<Routes> {
    let root = workspace();
    let mut compiler = protox::Compiler::new([root.join("tests/journeys/echo"), root.join("proto")])?;
    let files = compiler.include_imports(true).open_file("echo.proto")?.encode_file_descriptor_set();
    let builder = tonic_reflection::server::Builder::configure();
    Ok(Routes::new(builder.register_encoded_file_descriptor_set(&files).build_v1()?).prepare())
}
