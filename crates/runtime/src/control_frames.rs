//! Control-frame limit: whoever floods an HTTP/2 connection with frames that carry no call is told to calm down, and cut.
//!
//! SETTINGS, PING, PRIORITY and frames of unknown types cost their sender a few bytes, and us the time to read and to answer them
//! (the class of CVE-2019-9512). The HTTP/2 library does not count them, so they are counted below it, in the bytes that it reads.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::{
    frames::{CONTINUATION, DATA, FrameHeader, FrameReader, GOAWAY, HEADERS},
    preface::PREFACE,
};

/// Control frames at once, and a second after those. A client at rest sends a few a minute.
const BURST: u32 = 2_000;
const RATE: u32 = 200;

/// What a call allows beside: to be prioritised, or given a window, and to be reset.
const PER_REQUEST: u32 = 2;

/// What each DATA frame that we send allows: a window update of stream and connection, and a ping by which the reader measures. Some
/// clients update both windows every 4 KiB.
const PER_DATA: u32 = 3;
const BYTES_PER_UPDATE: u32 = 2 << 10;

/// The most that may be allowed ahead: a reader with large windows lets go of many updates at once.
const MOST_AHEAD: u32 = 1 << 16;

/// `ENHANCE_YOUR_CALM`.
const CALM: u32 = 11;

/// Why the connection ended.
#[derive(Debug, thiserror::Error)]
#[error("the peer sent more than {RATE} control frames a second; the connection is closed with ENHANCE_YOUR_CALM")]
struct ControlFrameFlood;

/// How many control frames the peer may still send.
struct Budget {
    left: u32,
    filled: Instant,
}

impl Budget {
    fn new() -> Self {
        Self { left: BURST, filled: Instant::now() }
    }

    fn allow(&mut self, more: u32) {
        self.left = self.left.saturating_add(more).min(MOST_AHEAD);
    }

    /// Whether one more is within the rate. The clock is read only when nothing is left.
    fn take(&mut self) -> bool {
        if self.left == 0 {
            let earned = self.filled.elapsed().as_millis() * u128::from(RATE) / 1000;
            self.left = u32::try_from(earned).map_or(BURST, |earned| earned.min(BURST));
            if self.left == 0 {
                return false;
            }
            self.filled = Instant::now();
        }
        self.left -= 1;
        true
    }
}

/// Counts the frames of both directions.
struct FrameCounter {
    /// How much of the preface is still to come; `None` where the peer speaks HTTP/1.
    preface: Option<&'static [u8]>,
    received: FrameReader,
    sent: FrameReader,
    budget: Budget,
    /// The last stream that the peer has opened.
    last_stream: u32,
}

impl FrameCounter {
    fn new() -> Self {
        let (received, sent) = (FrameReader::default(), FrameReader::default());
        Self { preface: Some(PREFACE), received, sent, budget: Budget::new(), last_stream: 0 }
    }

    /// Counts what was received; whether it is within the rate.
    fn receive(&mut self, mut bytes: &[u8]) -> bool {
        let Some(preface) = self.preface else { return true };
        let (expected, rest) = preface.split_at(preface.len().min(bytes.len()));
        if !bytes.starts_with(expected) {
            self.preface = None;
            return true;
        }
        self.preface = Some(rest);
        bytes = &bytes[expected.len()..];
        let (budget, last_stream, mut within) = (&mut self.budget, &mut self.last_stream, true);
        self.received.read(bytes, |FrameHeader { kind, stream, .. }| match kind {
            HEADERS => {
                budget.allow(PER_REQUEST);
                *last_stream = stream.max(*last_stream);
            }
            DATA | CONTINUATION => {}
            _ => within &= budget.take(),
        });
        within
    }

    /// Counts what was sent.
    fn send(&mut self, bytes: &[u8]) {
        if self.preface.is_some() {
            let budget = &mut self.budget;
            self.sent.read(bytes, |FrameHeader { kind, length, .. }| {
                if kind == DATA {
                    budget.allow(PER_DATA + length / BYTES_PER_UPDATE);
                }
            });
        }
    }

    /// The last frame of the connection; `None` in the midst of another one.
    fn goodbye(&self) -> Option<Vec<u8>> {
        let header = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0];
        let goodbye = || [&header[..], &self.last_stream.to_be_bytes(), &CALM.to_be_bytes()].concat();
        self.sent.is_between_frames().then(goodbye)
    }
}

pin_project! {
    /// Fails reads, after a GOAWAY, once the peer has sent too many control frames.
    pub(crate) struct ControlFrameLimit<T, F> {
        #[pin]
        inner: T,
        counter: FrameCounter,
        flooded: F,
    }
}

impl<T, F> ControlFrameLimit<T, F> {
    /// `flooded` is called when the limit ends the connection.
    pub(crate) fn new(inner: T, flooded: F) -> Self {
        Self { inner, counter: FrameCounter::new(), flooded }
    }
}

impl<T: AsyncRead + AsyncWrite, F: Fn()> AsyncRead for ControlFrameLimit<T, F> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        let before = buffer.filled().len();
        ready!(this.inner.as_mut().poll_read(context, buffer))?;
        if this.counter.receive(&buffer.filled()[before..]) {
            return Poll::Ready(Ok(()));
        }
        (this.flooded)();
        if let Some(goodbye) = this.counter.goodbye() {
            // A peer that leaves no room for it is cut without a word.
            let _ = this.inner.as_mut().poll_write(context, &goodbye)?;
            let _ = this.inner.poll_flush(context)?;
        }
        Poll::Ready(Err(io::Error::other(ControlFrameFlood)))
    }
}

impl<T: AsyncWrite, F> AsyncWrite for ControlFrameLimit<T, F> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = ready!(this.inner.poll_write(context, data))?;
        this.counter.send(&data[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = ready!(this.inner.poll_write_vectored(context, data))?;
        let mut left = written;
        for slice in data {
            let part = &slice[..left.min(slice.len())];
            left -= part.len();
            this.counter.send(part);
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PING: &[u8] = &[0, 0, 0, 6, 0, 0, 0, 0, 0];

    #[tokio::test(start_paused = true)]
    async fn control_frames_at_a_steady_rate_are_let_through() {
        let mut budget = Budget::new();
        for second in 0..60 {
            assert!((0..RATE).all(|_| budget.take()), "in second {second}");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn control_frames_past_the_burst_are_not() {
        let mut counter = FrameCounter::new();
        assert!(counter.receive(&[PREFACE, &PING.repeat(BURST as usize)].concat()));
        assert!(!counter.receive(PING));
    }

    #[tokio::test(start_paused = true)]
    async fn body_in_http1_that_looks_like_frames_is_not_counted() {
        let mut counter = FrameCounter::new();
        assert!(counter.receive(b"POST / HTTP/1.1\r\n\r\n"));
        assert!(counter.receive(&[PREFACE, &PING.repeat(2 * BURST as usize)].concat()));
    }

    #[tokio::test(start_paused = true)]
    async fn goaway_does_not_break_into_another_frame() {
        let mut counter = FrameCounter::new();
        counter.send(&[0, 0, 2, DATA, 0, 0, 0, 0, 1, b'a']);
        assert_eq!(counter.goodbye(), None);
        counter.send(b"b");
        assert!(counter.goodbye().is_some());
    }
}
