//! Preface timeout: a connection must say in time which HTTP it speaks.
//!
//! The server tells HTTP/2 from HTTP/1 by the first bytes and waits for them without a bound of its own; a peer that
//! sends nothing, or half of HTTP/2's preface, would hold its connection for ever.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// What an HTTP/2 client says first (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pin_project! {
    /// Fails reads when the limit passes while all that came is a true beginning of HTTP/2's preface.
    pub(crate) struct PrefaceTimeout<T> {
        #[pin]
        inner: T,
        seen: usize,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<T> PrefaceTimeout<T> {
    pub(crate) fn new(inner: T, limit: Duration) -> Self {
        Self { inner, seen: 0, timer: Some(Box::pin(sleep(limit))) }
    }
}

impl<T: AsyncRead> AsyncRead for PrefaceTimeout<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buffer.filled().len();
        let read = this.inner.poll_read(context, buffer);
        let Some(timer) = this.timer else {
            return read;
        };
        let fresh = &buffer.filled()[before..];
        let undecided = PREFACE[*this.seen..].len() > fresh.len() && PREFACE[*this.seen..].starts_with(fresh);
        *this.seen += fresh.len();
        if !undecided {
            *this.timer = None;
        } else if timer.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<T: AsyncWrite> AsyncWrite for PrefaceTimeout<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write(context, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write_vectored(context, data)
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn connection_without_a_whole_preface_is_cut_at_the_timeout() {
        for sent in [&b""[..], b"PRI * HT"] {
            let (mut peer, socket) = duplex(64);
            peer.write_all(sent).await.unwrap();
            let mut all = Vec::new();
            let error = PrefaceTimeout::new(socket, LIMIT).read_to_end(&mut all).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connection_with_a_whole_preface_has_no_timeout() {
        for sent in [&b"GET /"[..], PREFACE] {
            let (mut peer, socket) = duplex(64);
            peer.write_all(sent).await.unwrap();
            let later = tokio::spawn(async move {
                tokio::time::sleep(LIMIT * 2).await;
                peer.write_all(b"!").await.unwrap();
            });
            let mut all = Vec::new();
            PrefaceTimeout::new(socket, LIMIT).read_to_end(&mut all).await.unwrap();
            assert!(all.ends_with(b"!"));
            later.await.unwrap();
        }
    }
}
