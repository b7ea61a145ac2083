//! Load that differs from request to request, or comes at a rate whatever the answers do: what h2load can't send.

use std::{cell::Cell, net::SocketAddr, path::PathBuf, rc::Rc, thread, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::{Args as ClapArgs, ValueEnum};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    net::TcpStream,
    sync::{Mutex, mpsc},
    task::{self, JoinSet},
    time::Instant,
};

use crate::{
    executor::LocalExecutor,
    item,
    turns::{self, microseconds, report},
};

/// How often it is looked whether requests are due. The runtime's own clock ticks once in a millisecond: they would come in bursts.
const TICK: Duration = Duration::from_micros(200);

/// What is sent, and how.
#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct Args {
    /// Where to
    to: SocketAddr,
    /// What is spoken
    #[arg(long, value_enum, default_value = "grpc")]
    protocol: Protocol,
    /// The path; `{n}` in it, and in the request's id, is the number of the request
    #[arg(long)]
    path: String,
    /// The request's id, for gRPC
    #[arg(long, default_value = "oak-desk")]
    id: String,
    /// Messages that are asked for, where the method streams them
    #[arg(long)]
    messages: Option<u32>,
    /// After so many, numbers begin again
    #[arg(long, default_value_t = u64::MAX)]
    distinct: u64,
    /// The first number
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// A file with tokens, one a line, which take turns
    #[arg(long)]
    tokens: Option<PathBuf>,
    /// Connections
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Requests in flight on each, unless they come at a rate
    #[arg(long, default_value_t = 16)]
    streams: usize,
    /// Requests
    #[arg(long, default_value_t = 20_000)]
    requests: u64,
    /// Requests a second, whatever the answers do: latency counts from when a request was due
    #[arg(long)]
    rate: Option<f64>,
    /// Keep the connections, and send as many requests as each line of standard input says
    #[arg(long, conflicts_with_all = ["rate", "requests"])]
    session: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Grpc,
    H1,
    H2,
}

type Body = Full<Bytes>;

/// One connection.
enum Connection {
    /// One request at a time.
    Http1(Mutex<http1::SendRequest<Body>>),
    Http2(http2::SendRequest<Body>),
}

/// What all tasks share.
struct Load {
    args: Args,
    tokens: Vec<String>,
    /// Requests that are begun.
    begun: Cell<u64>,
    /// Requests that may be begun.
    allowed: Cell<u64>,
}

/// Sends everything, and prints how many were answered and how long that took.
pub(crate) async fn run(args: Args) -> Result<()> {
    let tokens = match &args.tokens {
        Some(file) => {
            std::fs::read_to_string(file).context("the tokens can't be read")?.lines().map(str::to_owned).collect()
        }
        None => Vec::new(),
    };
    raise_file_limit();
    let load = Rc::new(Load { args, tokens, begun: Cell::new(0), allowed: Cell::new(0) });
    task::LocalSet::new().run_until(send_all(load)).await
}

async fn send_all(load: Rc<Load>) -> Result<()> {
    let mut connections = Vec::new();
    for _ in 0..load.args.connections {
        connections.push(Rc::new(connect(&load.args).await?));
    }
    if load.args.session {
        let turn = async |count| {
            load.allow(count);
            in_turn(&load, &connections).await
        };
        return turns::serve(turn).await;
    }
    load.allow(load.args.requests);
    report(match load.args.rate {
        Some(rate) => at_rate(&load, &connections, rate).await?,
        None => in_turn(&load, &connections).await?,
    });
    Ok(())
}

/// As many connections as the system lets us have: a shell's limit is often 1,024. Where it can't be raised, connecting tells.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Each task sends its next request when the one before is answered.
async fn in_turn(load: &Rc<Load>, connections: &[Rc<Connection>]) -> Result<Vec<u64>> {
    let mut tasks = JoinSet::new();
    for connection in connections {
        for _ in 0..load.args.streams {
            let (load, connection) = (Rc::clone(load), Rc::clone(connection));
            tasks.spawn_local(async move {
                let mut times = Vec::new();
                while let Some(number) = load.number() {
                    let begun = Instant::now();
                    connection.send(&load, number).await?;
                    times.push(microseconds(begun.elapsed()));
                }
                anyhow::Ok(times)
            });
        }
    }
    let mut all = Vec::new();
    while let Some(times) = tasks.join_next().await {
        all.extend(times??);
    }
    Ok(all)
}

/// Requests are due at even distances. One that can't be sent in time is late, and its wait counts.
async fn at_rate(load: &Rc<Load>, connections: &[Rc<Connection>], rate: f64) -> Result<Vec<u64>> {
    let (begun, mut ticks, mut tasks) = (Instant::now(), ticks(), JoinSet::new());
    for (count, connection) in (0_u32..).zip(connections.iter().cycle()) {
        let Some(number) = load.number() else { break };
        let due = begun + Duration::from_secs_f64(f64::from(count) / rate);
        while Instant::now() < due {
            ticks.recv().await;
        }
        let (load, connection) = (Rc::clone(load), Rc::clone(connection));
        tasks.spawn_local(async move {
            connection.send(&load, number).await?;
            anyhow::Ok(microseconds(due.elapsed()))
        });
    }
    let mut all = Vec::new();
    while let Some(time) = tasks.join_next().await {
        all.push(time??);
    }
    Ok(all)
}

/// Wakes whoever waits for it at each tick, until nobody does. A tick that nobody has taken stands for those after it.
fn ticks() -> mpsc::Receiver<()> {
    let (sender, ticks) = mpsc::channel(1);
    thread::spawn(move || {
        while !sender.is_closed() {
            thread::sleep(TICK);
            let _ = sender.try_send(());
        }
    });
    ticks
}

async fn connect(args: &Args) -> Result<Connection> {
    let socket = TcpStream::connect(args.to).await.with_context(|| format!("{} can't be reached", args.to))?;
    socket.set_nodelay(true)?;
    let socket = TokioIo::new(socket);
    Ok(if args.protocol == Protocol::H1 {
        let (sender, connection) = http1::handshake(socket).await?;
        task::spawn_local(connection);
        Connection::Http1(Mutex::new(sender))
    } else {
        let mut builder = http2::Builder::new(LocalExecutor);
        let (sender, connection) = builder.initial_stream_window_size(1 << 20).handshake(socket).await?;
        task::spawn_local(connection);
        Connection::Http2(sender)
    })
}

impl Load {
    /// The next number, until all are given out.
    fn number(&self) -> Option<u64> {
        let count = self.begun.get();
        if count >= self.allowed.get() {
            return None;
        }
        self.begun.set(count + 1);
        Some(self.args.from + count % self.args.distinct)
    }

    /// So many more.
    fn allow(&self, requests: u64) {
        self.allowed.set(self.allowed.get() + requests);
    }

    fn request(&self, number: u64) -> Result<Request<Body>> {
        let Args { to, protocol, path, id, messages, .. } = &self.args;
        let path = path.replace("{n}", &number.to_string());
        let uri = if *protocol == Protocol::H1 { path } else { format!("http://{to}{path}") };
        let mut request = Request::builder().uri(uri);
        if let Some(token) = self.tokens.get(usize::try_from(number)? % self.tokens.len().max(1)) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match protocol {
            Protocol::Grpc => {
                request = request
                    .method(Method::POST)
                    .header(header::CONTENT_TYPE, "application/grpc")
                    .header("te", "trailers");
                messages.map_or_else(|| item::get(&id.replace("{n}", &number.to_string())), item::watch)
            }
            Protocol::H1 => {
                request = request.header(header::HOST, to.to_string());
                Bytes::new()
            }
            Protocol::H2 => Bytes::new(),
        };
        Ok(request.body(Full::new(body))?)
    }
}

impl Connection {
    /// Sends a request, reads its whole answer, and fails unless that is a success.
    async fn send(&self, load: &Load, number: u64) -> Result<()> {
        let request = load.request(number)?;
        let response = match self {
            Self::Http1(sender) => {
                let mut sender = sender.lock().await;
                sender.ready().await?;
                let response = sender.send_request(request).await?;
                return finished(response, load.args.protocol).await;
            }
            Self::Http2(sender) => sender.clone().send_request(request).await?,
        };
        finished(response, load.args.protocol).await
    }
}

async fn finished(response: http::Response<hyper::body::Incoming>, protocol: Protocol) -> Result<()> {
    let (head, mut body) = response.into_parts();
    ensure!(head.status == StatusCode::OK, "answered with {}", head.status);
    let mut status = head.headers.get("grpc-status").cloned();
    while let Some(frame) = body.frame().await {
        if let Ok(trailers) = frame?.into_trailers() {
            status = trailers.get("grpc-status").cloned().or(status);
        }
    }
    if protocol == Protocol::Grpc && status.as_ref().is_none_or(|status| status != "0") {
        bail!("answered with grpc-status {status:?}");
    }
    Ok(())
}
