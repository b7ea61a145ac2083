//! Callers that come at a rate, whatever becomes of their calls.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2::SendRequest, rt::Executor};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpSocket,
    task::{self, JoinSet},
    time::{Instant, sleep_until, timeout},
};

/// Addresses that call in turn, so that none is held back by its fair share.
const CALLERS: u8 = 16;
/// How long a caller waits, and how long something that should be answered at once may take.
const DEADLINE: &str = "500m";
const BOUND: Duration = Duration::from_secs(20);
/// One of so many calls is critical.
const CRITICAL: u32 = 5;

const OK: &str = "0";
const RESOURCE_EXHAUSTED: &str = "8";
const DEADLINE_EXCEEDED: &str = "4";

/// Everything of a connection stays on this thread.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future<Output: 'static> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        task::spawn_local(future);
    }
}

/// Connections to the gateway, each from its own address.
pub(super) struct Callers {
    to: SocketAddr,
    connections: Vec<SendRequest<Full<Bytes>>>,
}

/// What came of the calls of one method.
#[derive(Clone, Debug, Default)]
pub(super) struct Of {
    asked: u32,
    refused: u32,
    late: u32,
    times: Vec<Duration>,
}

impl Of {
    /// The part that was answered in time.
    pub(super) fn part_good(&self) -> f64 {
        count(&self.times) / f64::from(self.asked.max(1))
    }
}

/// What came of calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcomes {
    /// Of the critical ones.
    pub critical: Of,
    /// Of the others.
    pub sheddable: Of,
}

impl Outcomes {
    /// Answers within the deadline.
    pub(super) fn good(&self) -> f64 {
        count(&self.critical.times) + count(&self.sheddable.times)
    }

    /// All calls.
    pub(super) fn asked(&self) -> u32 {
        self.critical.asked + self.sheddable.asked
    }

    /// Calls whose deadline passed.
    pub(super) fn late(&self) -> u32 {
        self.critical.late + self.sheddable.late
    }

    /// The time that so many percent of the answers did not exceed.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let mut times = [&self.critical.times[..], &self.sheddable.times].concat();
        times.sort_unstable();
        times.get(times.len() * percent / 100).or(times.last()).copied().unwrap_or_default()
    }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than a float counts")]
fn count(times: &[Duration]) -> f64 {
    times.len() as f64
}

impl Callers {
    /// Connects.
    pub(super) async fn connect(to: SocketAddr) -> Result<Self> {
        let mut connections = Vec::new();
        for caller in 0..CALLERS {
            let socket = TcpSocket::new_v4()?;
            socket.bind((IpAddr::from(Ipv4Addr::new(127, 0, 0, 10 + caller)), 0).into())?;
            let stream = socket.connect(to).await.context("the gateway can't be reached")?;
            stream.set_nodelay(true)?;
            let (sender, connection) = hyper::client::conn::http2::handshake(Local, TokioIo::new(stream)).await?;
            task::spawn_local(connection);
            connections.push(sender);
        }
        Ok(Self { to, connections })
    }

    /// Calls at this rate a second for so many seconds.
    pub(super) async fn call(&self, rate: f64, seconds: f64) -> Result<Outcomes> {
        Ok(self.call_twice(rate, 0.0, seconds).await?.1)
    }

    /// The same, with what came of the first seconds told apart from what came of the others.
    pub(super) async fn call_twice(&self, rate: f64, first: f64, then: f64) -> Result<(Outcomes, Outcomes)> {
        let (begun, mut calls) = (Instant::now(), JoinSet::new());
        for (number, connection) in (0_u32..).zip(self.connections.iter().cycle()) {
            let due = Duration::from_secs_f64(f64::from(number) / rate);
            if due.as_secs_f64() >= first + then {
                break;
            }
            sleep_until(begun + due).await;
            let (is_first, is_critical) = (due.as_secs_f64() < first, number % CRITICAL == 0);
            let (connection, request) = (connection.clone(), self.request(is_critical)?);
            calls.spawn_local(async move {
                let asked = Instant::now();
                let status = timeout(BOUND, ask(connection, request)).await.context("a call hangs")??;
                anyhow::Ok((is_first, is_critical, status, asked.elapsed()))
            });
        }
        let mut outcomes = [Outcomes::default(), Outcomes::default()];
        while let Some(call) = calls.join_next().await {
            let (is_first, is_critical, status, time) = call??;
            let of = &mut outcomes[usize::from(!is_first)];
            let of = if is_critical { &mut of.critical } else { &mut of.sheddable };
            of.asked += 1;
            match status.as_str() {
                OK => of.times.push(time),
                RESOURCE_EXHAUSTED => of.refused += 1,
                DEADLINE_EXCEEDED => of.late += 1,
                status => anyhow::bail!("a call ended with the gRPC status {status}"),
            }
        }
        let [first, then] = outcomes;
        Ok((first, then))
    }

    fn request(&self, is_critical: bool) -> Result<Request<Full<Bytes>>> {
        let method = if is_critical { "GetPublic" } else { "GetAuthenticated" };
        let request = Request::post(format!("http://{}/bench.v1.BenchService/{method}", self.to));
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        Ok(request.header("grpc-timeout", DEADLINE).body(Full::new(Bytes::from_static(&[0; 5])))?)
    }
}

async fn ask(mut connection: SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Result<String> {
    connection.ready().await?;
    let response: Response<Incoming> = connection.send_request(request).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let status = body.trailers().and_then(|trailers| trailers.get("grpc-status")).or(head.headers.get("grpc-status"));
    let status = status.context("an answer has no status")?.to_str()?.to_owned();
    ensure!(!status.is_empty(), "an answer has an empty status");
    Ok(status)
}
