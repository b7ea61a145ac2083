//! One HTTP/2 connection: connect, keepalive, and replacement when its peer falls silent.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::poll_fn;
use h2::client::{self, SendRequest};
use h2::{Ping, PingPong};
use http::Request;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::connect_error::{ConnectError, FirstRead};
use crate::discovery::Address;

/// What a peer may send before it was read: of one stream, and of all streams of a connection. A reader that stalls keeps
/// what its stream may take, so the connection's room is for more of them than servers allow streams (100 to 200). Whoever
/// counts the memory of calls counts a window for each answer that is passed on as it comes.
pub const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 256;

/// Headers are decoded up to this many times their configured bound. What lies between fails one call; beyond four times
/// this, the HTTP/2 library gives up the whole connection.
const HEADER_ROOM: u32 = 16;

/// Over this much overhead of small DATA frames that nobody has read yet (256 bytes less their length, each), the HTTP/2
/// library gives up the whole connection. A few stalled readers can't reach it: a window full of the smallest messages, of
/// five bytes, is 3 MiB.
const SMALL_FRAMES: usize = 64 << 20;

/// Silence is looked for this often in each keepalive interval: so no clock has to be read for each read.
const LOOKS: u32 = 4;

/// How connections are made and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub connect_timeout: Duration,
    pub keepalive_interval: Duration,
    pub keepalive_timeout: Duration,
    pub max_header_bytes: u32,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    send: SendRequest<Bytes>,
    in_flight: AtomicUsize,
    /// How often its pool had replaced all its connections before it came.
    pub generation: u64,
    closed: Arc<AtomicBool>,
    trust: Option<Arc<ClientConfig>>,
    /// Told when a place on it is given back.
    freed: Arc<Notify>,
}

/// Why a connection ended, as far as it matters for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// In whatever way.
    Somehow,
    /// The peer was pinged more often than it allows (gRFC A8).
    TooManyPings,
}

impl Connection {
    /// Connects, and waits until the peer has answered a ping: so what is handed out is known to be served.
    pub(crate) async fn open(
        address: &Address,
        trust: Option<Arc<ClientConfig>>,
        settings: Settings,
        freed: Arc<Notify>,
        ended: impl FnOnce(Ended) + Send + 'static,
    ) -> Result<Self, ConnectError> {
        let established = timeout(settings.connect_timeout, establish(address, trust.as_ref(), settings)).await;
        let Established { send, connection, pings, heard } =
            established.map_err(|_elapsed| ConnectError::timed_out())??;
        let closed = Arc::new(AtomicBool::new(false));
        let done = Closing(Arc::clone(&closed));
        tokio::spawn(async move {
            let _done = done;
            ended(drive(connection, keepalive(pings, heard, settings)).await);
        });
        Ok(Self { send, in_flight: AtomicUsize::new(0), generation: 0, closed, trust, freed })
    }

    /// Whether calls can be sent, as far as that can be said at little cost: a GOAWAY does not show here.
    pub(crate) fn is_open(&self, trust: Option<&Arc<ClientConfig>>) -> bool {
        let is_current = match (&self.trust, trust) {
            (Some(own), Some(newest)) => Arc::ptr_eq(own, newest),
            _ => true,
        };
        is_current && !self.closed.load(Ordering::Relaxed)
    }

    /// Whether it takes no more calls, because its peer said so or because it broke. Those in flight may go on.
    pub(crate) fn is_closing(&self) -> bool {
        let ready = self.send.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
        matches!(ready, Poll::Ready(Err(_)))
    }

    /// How many calls are in flight on it.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether the peer takes one more stream.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight() < self.send.current_max_send_streams()
    }

    /// Counts a call in.
    pub(crate) fn enter(self: Arc<Self>) -> Lease {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Lease(self)
    }
}

/// A place on a connection, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Connection>);

impl Lease {
    /// How often its pool had replaced all its connections before this one came.
    pub(crate) fn generation(&self) -> u64 {
        self.0.generation
    }

    /// Opens a stream. An error is the connection's: nothing was sent.
    pub(crate) fn send(
        &self,
        request: Request<()>,
        end_of_stream: bool,
    ) -> Result<(client::ResponseFuture, h2::SendStream<Bytes>), h2::Error> {
        // A clone, since one sender waits until its last stream is open before it opens another.
        self.0.send.clone().send_request(request, end_of_stream)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}

/// Says that a connection is closed, however its task ends.
struct Closing(Arc<AtomicBool>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection that is served, before its bytes are moved by a task.
struct Established {
    send: SendRequest<Bytes>,
    connection: client::Connection<Listening, Bytes>,
    pings: PingPong,
    heard: Arc<AtomicBool>,
}

async fn establish(
    address: &Address,
    trust: Option<&Arc<ClientConfig>>,
    settings: Settings,
) -> Result<Established, ConnectError> {
    let (heard, first) = (Arc::new(AtomicBool::new(false)), Arc::new(OnceLock::new()));
    let stream = dial(address, trust).await?;
    let io = Listening { stream, heard: Arc::clone(&heard), first: Some(Arc::clone(&first)) };
    let begun = begin(io, settings).await;
    let (send, connection, pings) = begun.map_err(|error| ConnectError::of_http2(error, first.get().copied()))?;
    Ok(Established { send, connection, pings, heard })
}

/// What a connection consists of for HTTP/2.
type Parts = (SendRequest<Bytes>, client::Connection<Listening, Bytes>, PingPong);

async fn begin(io: Listening, settings: Settings) -> io::Result<Parts> {
    let (send, mut connection) = builder(settings).handshake(io).await.map_err(io::Error::other)?;
    let mut pings = connection.ping_pong().ok_or_else(|| io::Error::other("the connection can't be pinged"))?;
    tokio::select! {
        ended = &mut connection => Err(ended.err().map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::other)),
        pong = pings.ping(Ping::opaque()) => pong.map(drop).map_err(io::Error::other),
    }?;
    Ok((send, connection, pings))
}

async fn dial(address: &Address, trust: Option<&Arc<ClientConfig>>) -> Result<Stream, ConnectError> {
    let socket = TcpStream::connect(address.socket).await.map_err(ConnectError::of_tcp)?;
    socket.set_nodelay(true).map_err(ConnectError::of_tcp)?;
    Ok(match (trust, &address.url.server_name) {
        (Some(trust), Some(name)) => {
            let encrypted = TlsConnector::from(Arc::clone(trust)).connect(name.clone(), socket).await;
            Stream::Encrypted(Box::new(encrypted.map_err(ConnectError::of_tls)?))
        }
        _ => Stream::Plain(socket),
    })
}

fn builder(settings: Settings) -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(settings.max_header_bytes.saturating_mul(HEADER_ROOM))
        .data_frame_budget(SMALL_FRAMES)
        // Late answers to calls that were given up count as errors of a stream; no number of them is a reason to end others.
        .max_local_error_reset_streams(None)
        .enable_push(false);
    builder
}

/// Moves the connection's bytes until it ends, or until its peer is found silent.
async fn drive(connection: client::Connection<Listening, Bytes>, silence: impl Future<Output = ()>) -> Ended {
    let ended = tokio::select! {
        ended = connection => ended,
        () = silence => return Ended::Somehow,
    };
    // The debug data of a GOAWAY is not told; the code is used for this alone by gRPC servers.
    let calm = |error: h2::Error| {
        error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
    };
    if ended.is_err_and(calm) { Ended::TooManyPings } else { Ended::Somehow }
}

/// Ends when the peer has sent nothing for the interval and does not answer a ping in time either.
async fn keepalive(mut pings: PingPong, heard: Arc<AtomicBool>, settings: Settings) {
    let (mut silent, mut is_pending) = (0, false);
    loop {
        sleep(settings.keepalive_interval / LOOKS).await;
        silent = if heard.swap(false, Ordering::Relaxed) { 0 } else { silent + 1 };
        if silent < LOOKS {
            continue;
        }
        silent = 0;
        let pong = timeout(settings.keepalive_timeout, answered(&mut pings, &mut is_pending)).await;
        if pong.is_err() && !heard.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Pings the peer, and waits for the answer. There is one ping at a time: as long as one is pending, it waits for that.
async fn answered(pings: &mut PingPong, is_pending: &mut bool) {
    if !*is_pending && pings.send_ping(Ping::opaque()).is_err() {
        return;
    }
    *is_pending = true;
    // An error is the connection's, which ends anyway.
    let _ = poll_fn(|context| pings.poll_pong(context)).await;
    *is_pending = false;
}

/// What a connection runs over.
enum Stream {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

/// A stream that says when something was heard from the peer.
struct Listening {
    stream: Stream,
    heard: Arc<AtomicBool>,
    /// Takes what is read first; none once something was.
    first: Option<Arc<OnceLock<FirstRead>>>,
}

impl Listening {
    fn note(&mut self, read: impl FnOnce() -> Option<FirstRead>) {
        let Some(first) = self.first.take() else { return };
        if let Some(read) = read() {
            // The place is new, and this is the only one who writes.
            let _ = first.set(read);
        }
    }
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
        });
        if let Err(error) = read {
            self.note(|| FirstRead::failed(&error));
            return Poll::Ready(Err(error));
        }
        if buffer.filled().len() > before {
            self.note(|| Some(FirstRead::of(&buffer.filled()[before..])));
            self.heard.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Listening {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Encrypted(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Encrypted(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
