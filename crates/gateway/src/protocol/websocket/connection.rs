//! The connection of an open WebSocket: pieces of messages in, frames of the answer out, until one side closes it.

use super::frame::{Decoder, Event, GOING_AWAY, PING, PONG, PROTOCOL_ERROR, Piece, put, put_close, put_close_again};
use accord_runtime::{server::ListenConfig, upgrade::GoingAway};
use bytes::{Buf, Bytes, BytesMut};
use http::Response;
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use std::{
    collections::VecDeque,
    future::{Future, pending},
    io,
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    sync::{Notify, mpsc::Sender},
    time::timeout,
};

/// The most that is read at once.
const READ: usize = 8 << 10;

/// The most that is read ahead of a call that does not take it yet, so that pings and a close behind it are read in time. It is counted
/// as what waits in the windows of the call.
const AHEAD: usize = 32 << 10;

/// What a piece that waits costs besides its bytes: a client may send very small ones.
const PIECE_BYTES: usize = 128;

/// How long the last frame may take to get out.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// When a client that is silent is pinged, and for how long its pong is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepAlive {
    interval: Duration,
    timeout: Duration,
}

impl KeepAlive {
    /// As a port is listened on.
    pub(crate) fn of<A>(config: &ListenConfig<A>) -> Self {
        Self { interval: config.keepalive_interval, timeout: config.keepalive_timeout }
    }
}

/// Why a WebSocket ends.
enum End {
    /// The answer is out, with its close.
    Answered,
    /// The client closed it.
    Closed(Option<u16>),
    /// What came is no WebSocket.
    Malformed(&'static str),
    /// The server is about to go.
    GoingAway,
    /// The client is gone, or does not answer.
    Gone,
}

/// Serves a WebSocket until its one call has been answered. Whatever ends it before cancels the call.
pub(super) async fn serve<I, B>(
    io: I,
    call: impl Future<Output = Response<B>>,
    messages: Sender<Piece>,
    keep_alive: KeepAlive,
    going_away: GoingAway,
) where
    I: AsyncRead + AsyncWrite,
    B: HttpBody<Data = Bytes>,
{
    let (reader, writer) = split(io);
    let (reader, writer) = (pin!(reader), pin!(writer));
    let control = ControlFrames::default();
    let mut writer = Writer { io: writer, rest: Bytes::new() };
    let end = tokio::select! {
        answered = answer(&mut writer, call, &control) => answered.map_or(End::Gone, |()| End::Answered),
        end = receive(reader, messages, keep_alive, &control) => end,
        () = going_away => End::GoingAway,
    };
    let mut last = Vec::new();
    match end {
        End::Answered => {}
        End::Closed(code) => put_close_again(&mut last, code),
        End::Malformed(problem) => put_close(&mut last, PROTOCOL_ERROR, problem),
        End::GoingAway => put_close(&mut last, GOING_AWAY, "the server is about to go: connect again"),
        End::Gone => return,
    }
    // Where it does not get out in time, nobody reads it.
    let _ = timeout(CLOSE_TIME, writer.close(last.into())).await;
}

/// Writes the answer, and control frames between its frames.
async fn answer<W, B>(
    writer: &mut Writer<W>,
    call: impl Future<Output = Response<B>>,
    control: &ControlFrames,
) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
    B: HttpBody<Data = Bytes>,
{
    let mut call = pin!(call);
    let response = loop {
        tokio::select! {
            response = &mut call => break response,
            () = control.queued() => writer.write(control.take()).await?,
        }
    };
    let mut body = pin!(response.into_body());
    loop {
        let frames = tokio::select! {
            frame = body.frame() => frame.and_then(Result::ok).map(|frame| frame.into_data().unwrap_or_default()),
            () = control.queued() => Some(control.take()),
        };
        // Its close is the last thing that it says.
        let Some(frames) = frames else { return Ok(()) };
        writer.write(frames).await?;
    }
}

/// Reads what the client sends, a little ahead of what the call takes. Beyond that it waits until the call takes more.
async fn receive(
    mut io: impl AsyncRead + Unpin,
    messages: Sender<Piece>,
    keep_alive: KeepAlive,
    control: &ControlFrames,
) -> End {
    let (mut decoder, mut buffer, mut is_pinged) = (Decoder::default(), BytesMut::new(), false);
    let mut ahead = ReadAhead::default();
    loop {
        match decoder.next(&mut buffer) {
            Ok(Some(Event::Piece(piece))) => ahead.push(piece),
            Ok(Some(Event::Ping(payload))) => control.pong(payload),
            Ok(Some(Event::Pong)) => {}
            Ok(Some(Event::Close(code))) => return End::Closed(code),
            Err(problem) => return End::Malformed(problem),
            Ok(None) => {
                buffer.reserve(READ);
                let silence = if is_pinged { keep_alive.timeout } else { keep_alive.interval };
                let has_room = ahead.has_room();
                let read = tokio::select! {
                    () = ahead.pass_on(&messages) => continue,
                    read = timeout(silence, io.read_buf(&mut buffer)), if has_room => read,
                };
                match read {
                    Ok(Ok(1..)) => is_pinged = false,
                    Err(_silent) if !is_pinged => {
                        is_pinged = true;
                        control.ping();
                    }
                    Ok(Ok(0) | Err(_)) | Err(_) => return End::Gone,
                }
            }
        }
    }
}

/// Pieces that were read and that the call has not taken yet.
#[derive(Default)]
struct ReadAhead {
    pieces: VecDeque<Piece>,
    bytes: usize,
}

impl ReadAhead {
    fn has_room(&self) -> bool {
        self.bytes < AHEAD
    }

    fn push(&mut self, mut piece: Piece) {
        if piece.bytes.len() < READ / 2 {
            // It shares the block that it was read into, which a small piece that waits must not keep.
            piece.bytes = Bytes::copy_from_slice(&piece.bytes);
        }
        self.bytes += piece.bytes.len() + PIECE_BYTES;
        self.pieces.push_back(piece);
    }

    /// Hands one on once the call takes it; without end where there is none.
    async fn pass_on(&mut self, messages: &Sender<Piece>) {
        if self.pieces.is_empty() {
            return pending().await;
        }
        match messages.reserve().await {
            Ok(place) => {
                let Some(piece) = self.pieces.pop_front() else { return };
                self.bytes -= piece.bytes.len() + PIECE_BYTES;
                place.send(piece);
            }
            // A call that takes no more is about to be answered: what comes still is left.
            Err(_) => *self = Self::default(),
        }
    }
}

/// Writes bytes in their order, also where a write was given up amid a frame.
struct Writer<W> {
    io: W,
    rest: Bytes,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn write(&mut self, frames: Bytes) -> io::Result<()> {
        self.flush().await?;
        self.rest = frames;
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        while self.rest.has_remaining() {
            if self.io.write_buf(&mut self.rest).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.io.flush().await
    }

    async fn close(&mut self, last: Bytes) -> io::Result<()> {
        self.write(last).await?;
        self.io.shutdown().await
    }
}

/// Control frames that go between the frames of the answer: at most one ping, and the pong to the last ping (RFC 6455, 5.5.3).
#[derive(Default)]
struct ControlFrames {
    frames: Mutex<(bool, Option<Bytes>)>,
    queued: Notify,
}

impl ControlFrames {
    fn ping(&self) {
        self.queue(|(ping, _)| *ping = true);
    }

    fn pong(&self, payload: Bytes) {
        self.queue(|(_, pong)| *pong = Some(payload));
    }

    fn queue(&self, put: impl FnOnce(&mut (bool, Option<Bytes>))) {
        put(&mut self.frames.lock().unwrap_or_else(PoisonError::into_inner));
        self.queued.notify_one();
    }

    /// Waits for one.
    async fn queued(&self) {
        self.queued.notified().await;
    }

    fn take(&self) -> Bytes {
        let (is_ping, pong) = std::mem::take(&mut *self.frames.lock().unwrap_or_else(PoisonError::into_inner));
        let mut frames = Vec::new();
        if is_ping {
            put(&mut frames, PING, &[]);
        }
        if let Some(payload) = pong {
            put(&mut frames, PONG, &payload);
        }
        frames.into()
    }
}

#[cfg(test)]
mod tests;
