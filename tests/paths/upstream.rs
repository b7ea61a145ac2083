//! A scripted upstream on raw HTTP/2: it misbehaves where a well-made server would not let it.

use crate::reply::{End, Reply, Wait};
use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::FutureExt;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, Request, Response};
use std::{
    collections::VecDeque,
    future::{pending, poll_fn},
    io::Write,
    net::{SocketAddr, TcpStream as BlockingStream},
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{sleep, timeout},
};

/// The longest that something may take to reach the upstream.
const BOUND: Duration = Duration::from_secs(10);

/// A whole answer fits, however slowly its reader opens the window.
const WINDOW: u32 = 1 << 20;

/// What stands at one address of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Plays the script.
    Serves,
    /// Nobody listens.
    Refuses,
    /// Accepts connections, and never answers SETTINGS.
    Silent,
    /// Plays the script until [`Upstream::fall_silent`] ends its connections; silent from then on.
    FallsSilent,
}

/// A running upstream. Without a reply in its script it answers with the message that it was sent.
#[derive(Clone)]
pub(crate) struct Upstream(Arc<State>);

struct State {
    prefix: String,
    addresses: Vec<SocketAddr>,
    script: Mutex<VecDeque<Reply>>,
    calls: Mutex<Vec<HeaderMap>>,
    called: watch::Sender<usize>,
    barrier: Semaphore,
    silent: watch::Sender<bool>,
    // Connections to endpoints that fall silent.
    ending: watch::Sender<usize>,
    // Bound and not listening: connections are refused, and nobody else gets the port.
    _refusing: Vec<TcpSocket>,
}

/// What a call asks of the connection on which it came.
enum Order {
    /// GOAWAY for what comes later; what is in flight ends well.
    GoAway(oneshot::Sender<()>),
    /// GOAWAY that counts no stream as processed.
    GoAwayUnprocessed,
}

impl Upstream {
    /// Serves the services of a package at these endpoints.
    pub(crate) fn start(package: &str, endpoints: &[Endpoint]) -> Result<Self> {
        let (mut addresses, mut refusing, mut listening) = (Vec::new(), Vec::new(), Vec::new());
        for endpoint in endpoints {
            let socket = TcpSocket::new_v4()?;
            socket.bind("127.0.0.1:0".parse()?)?;
            addresses.push(socket.local_addr()?);
            match endpoint {
                Endpoint::Refuses => refusing.push(socket),
                _ => listening.push((*endpoint, socket.listen(1024)?)),
            }
        }
        let upstream = Self(Arc::new(State {
            prefix: format!("/{package}."),
            addresses,
            script: Mutex::default(),
            calls: Mutex::default(),
            called: watch::Sender::default(),
            barrier: Semaphore::new(0),
            silent: watch::Sender::default(),
            ending: watch::Sender::default(),
            _refusing: refusing,
        }));
        for (endpoint, listener) in listening {
            tokio::spawn(upstream.clone().listen(endpoint, listener));
        }
        Ok(upstream)
    }

    /// The URLs of its endpoints.
    pub(crate) fn urls(&self) -> impl Iterator<Item = String> {
        self.0.addresses.iter().map(|address| format!("http://{address}"))
    }

    /// Replaces the script: one reply for each call.
    pub(crate) fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        *self.0.script.lock().expect("no panic") = replies.into_iter().collect();
    }

    /// The metadata of the calls since it was last asked.
    pub(crate) fn take(&self) -> Vec<HeaderMap> {
        std::mem::take(&mut *self.0.calls.lock().expect("no panic"))
    }

    /// How many calls have come since the beginning.
    pub(crate) fn called(&self) -> usize {
        *self.0.called.borrow()
    }

    /// Waits until so many calls have come since the beginning.
    pub(crate) async fn until_called(&self, calls: usize) -> Result<()> {
        let mut called = self.0.called.subscribe();
        let reached = timeout(BOUND, called.wait_for(|called| *called >= calls)).await;
        let at_last = self.called();
        reached.with_context(|| format!("{at_last} of {calls} calls came"))?.map(drop).context("the upstream is gone")
    }

    /// Lets so many replies pass that wait at the barrier.
    pub(crate) fn release(&self, replies: usize) {
        self.0.barrier.add_permits(replies);
    }

    /// Ends the connections of the endpoints that fall silent, and answers nothing on new ones. Whoever had one knows that it
    /// is over, so that no call is lost on it.
    pub(crate) async fn fall_silent(&self) -> Result<()> {
        self.0.silent.send_replace(true);
        let mut ending = self.0.ending.subscribe();
        let ended = timeout(BOUND, ending.wait_for(|open| *open == 0)).await;
        ended.context("a connection outlives its GOAWAY")?.map(drop).context("the upstream is gone")
    }

    async fn listen(self, endpoint: Endpoint, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(self.clone().connected(endpoint, stream));
        }
    }

    async fn connected(self, endpoint: Endpoint, stream: TcpStream) {
        let mut silent = self.0.silent.subscribe();
        match endpoint {
            Endpoint::Serves | Endpoint::Refuses => drop(self.serve(stream, pending()).await),
            Endpoint::Silent => held_open(stream).await,
            Endpoint::FallsSilent if *silent.borrow() => held_open(stream).await,
            Endpoint::FallsSilent => {
                self.0.ending.send_modify(|open| *open += 1);
                let falls_silent = async { drop(silent.wait_for(|silent| *silent).await) };
                // How it ends says nothing that the table does not.
                let _ = self.clone().serve(stream, falls_silent).await;
                self.0.ending.send_modify(|open| *open -= 1);
            }
        }
    }

    /// Serves a connection to its end, which comes gracefully once `last` has.
    async fn serve(self, stream: TcpStream, last: impl Future<Output = ()>) -> Result<()> {
        // Written to directly where HTTP/2's own state forbids what the script wants to say.
        let stream = stream.into_std()?;
        let mut raw = stream.try_clone()?;
        let stream = TcpStream::from_std(stream)?;
        stream.set_nodelay(true)?;
        let mut settings = h2::server::Builder::new();
        settings.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).max_concurrent_streams(1000);
        let mut connection = settings.handshake(stream).await?;
        let (order, mut orders) = mpsc::channel(16);
        let mut last = pin!(last.fuse());
        loop {
            tokio::select! {
                accepted = connection.accept() => {
                    let Some(call) = accepted else { return Ok(()) };
                    let (request, respond) = call?;
                    tokio::spawn(self.clone().call(request, respond, order.clone()));
                }
                () = &mut last => connection.graceful_shutdown(),
                Some(order) = orders.recv() => match order {
                    Order::GoAway(done) => {
                        connection.graceful_shutdown();
                        // Whoever ordered it may be gone.
                        let _ = done.send(());
                    }
                    Order::GoAwayUnprocessed => go_away_unprocessed(&mut raw)?,
                }
            }
        }
    }

    async fn call(
        self,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        order: mpsc::Sender<Order>,
    ) -> Result<()> {
        let (parts, mut body) = request.into_parts();
        if !parts.uri.path().starts_with(&self.0.prefix) {
            // Probes of health, for one: any status shows that the endpoint is there.
            return Reply::unimplemented().perform(respond);
        }
        let mut message = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            message.extend_from_slice(&chunk);
        }
        let reply = self.0.script.lock().expect("no panic").pop_front();
        let reply = reply.unwrap_or_else(|| Reply::framed(message.into()));
        let timeout = parts.headers.get("grpc-timeout").and_then(|value| microseconds(value.to_str().ok()?));
        self.0.calls.lock().expect("no panic").push(parts.headers);
        self.0.called.send_modify(|called| *called += 1);
        self.perform(reply, timeout, respond, &order).await
    }

    async fn perform(
        &self,
        reply: Reply,
        timeout: Option<Duration>,
        mut respond: SendResponse<Bytes>,
        order: &mpsc::Sender<Order>,
    ) -> Result<()> {
        match reply.wait {
            Wait::No => {}
            Wait::Barrier => self.0.barrier.acquire().await?.forget(),
            Wait::NearDeadline(moment) => sleep(timeout.context("no deadline")?.saturating_sub(moment)).await,
            Wait::Forever => {
                poll_fn(|context| respond.poll_reset(context)).await?;
            }
        }
        match reply.end {
            End::GoAwayUnprocessed => {
                order.send(Order::GoAwayUnprocessed).await?;
                poll_fn(|context| respond.poll_reset(context)).await.map(drop)?;
                Ok(())
            }
            End::GoAwayGraceful => {
                let (done, sent) = oneshot::channel();
                order.send(Order::GoAway(done)).await?;
                sent.await?;
                reply.perform(respond)
            }
            _ => reply.perform(respond),
        }
    }
}

impl Reply {
    fn perform(self, mut respond: SendResponse<Bytes>) -> Result<()> {
        if let (true, End::Reset(reason)) = (self.data.is_empty() && self.head.is_empty(), &self.end) {
            respond.send_reset(*reason);
            return Ok(());
        }
        let mut head = Response::new(());
        *head.status_mut() = self.http;
        *head.headers_mut() = self.head;
        head.headers_mut().entry("content-type").or_insert(http::HeaderValue::from_static("application/grpc"));
        let is_alone = self.data.is_empty() && matches!(self.end, End::TrailersOnly(_));
        if let End::TrailersOnly(trailers) = &self.end {
            head.headers_mut().extend(trailers.clone());
        }
        let mut stream = respond.send_response(head, is_alone)?;
        for data in self.data {
            stream.send_data(data, false)?;
        }
        match self.end {
            End::Trailers(trailers) => stream.send_trailers(trailers)?,
            End::GoAwayGraceful => stream.send_trailers(Reply::ok_trailers())?,
            End::NoStatus => stream.send_data(Bytes::new(), true)?,
            End::Reset(reason) => stream.send_reset(reason),
            End::TrailersOnly(_) | End::GoAwayUnprocessed => {}
        }
        Ok(())
    }
}

/// A connection on which nothing is ever said.
async fn held_open(stream: TcpStream) {
    let mut buffer = [0; 1024];
    loop {
        let read = async {
            stream.readable().await?;
            stream.try_read(&mut buffer)
        };
        match read.await {
            Ok(0) => return,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

/// RFC 9113, 6.8: with the last stream 0 nothing on the connection has been processed.
fn go_away_unprocessed(raw: &mut BlockingStream) -> Result<()> {
    let no_error = u32::from(Reason::NO_ERROR).to_be_bytes();
    let frame = [&[0, 0, 8, 7, 0, 0, 0, 0, 0][..], &[0; 4], &no_error].concat();
    Ok(raw.write_all(&frame)?)
}

/// A `grpc-timeout` in the unit that Accord sends.
fn microseconds(timeout: &str) -> Option<Duration> {
    timeout.strip_suffix('u')?.parse().ok().map(Duration::from_micros)
}
