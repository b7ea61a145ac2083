//! Lingering close: a connection that is shut down goes on reading for a while (RFC 9112, 9.6).
//!
//! A socket that is closed with bytes unread is reset, and a reset destroys what its peer has not read yet: the refusal of a request
//! whose body is still on its way, or a GOAWAY. So what comes behind our last byte is read and thrown away.

use std::{
    future::Future,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// The most that is thrown away, and the longest that the peer is waited for. Whoever sends on, unread answer or not, is reset.
const BYTES: usize = 256 << 10;
const TIME: Duration = Duration::from_secs(1);

/// Thrown away at once.
const PIECE: usize = 4 << 10;

pin_project! {
    /// Reads on after its shutdown until the peer closes as well, within bounds.
    pub(crate) struct LingeringClose<T> {
        #[pin]
        inner: T,
        left: usize,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<T> LingeringClose<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, left: BYTES, timer: None }
    }
}

impl<T: AsyncRead> AsyncRead for LingeringClose<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_read(context, buffer)
    }
}

impl<T: AsyncRead + AsyncWrite> AsyncWrite for LingeringClose<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write(context, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
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
        let mut this = self.project();
        if this.timer.is_none() {
            ready!(this.inner.as_mut().poll_shutdown(context))?;
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(TIME)));
        while *this.left > 0 && timer.as_mut().poll(context).is_pending() {
            let mut piece = [MaybeUninit::uninit(); PIECE];
            let mut piece = ReadBuf::uninit(&mut piece);
            match ready!(this.inner.as_mut().poll_read(context, &mut piece)) {
                Ok(()) if !piece.filled().is_empty() => *this.left = this.left.saturating_sub(piece.filled().len()),
                // Closed by the peer as well, or broken: the answer is out either way.
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::{Instant, timeout},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn close_waits_for_a_silent_peer_no_longer_than_its_time() {
        let (_peer, socket) = duplex(64);
        let begun = Instant::now();
        LingeringClose::new(socket).shutdown().await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), TIME.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn close_waits_no_longer_for_a_peer_that_has_closed() {
        let (peer, socket) = duplex(64);
        drop(peer);
        let begun = Instant::now();
        LingeringClose::new(socket).shutdown().await.unwrap();
        assert!(begun.elapsed().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn close_throws_away_no_more_than_its_bytes() {
        let (mut peer, socket) = duplex(1 << 10);
        let mut socket = LingeringClose::new(socket);
        let (closed, sent) = tokio::join!(socket.shutdown(), async {
            let mut sent = 0;
            while timeout(TIME / 2, peer.write_all(&[0; 1 << 10])).await.is_ok() {
                sent += 1 << 10;
            }
            sent
        });
        closed.unwrap();
        assert!((BYTES..=BYTES + 2 * PIECE).contains(&sent), "{sent}");
    }

    #[tokio::test(start_paused = true)]
    async fn peer_reads_the_end_while_the_close_waits() {
        let (mut peer, socket) = duplex(64);
        let mut socket = LingeringClose::new(socket);
        socket.write_all(b"whole").await.unwrap();
        let (closed, answer) = tokio::join!(socket.shutdown(), async {
            let mut answer = Vec::new();
            peer.read_to_end(&mut answer).await.unwrap();
            peer.shutdown().await.unwrap();
            answer
        });
        closed.unwrap();
        assert_eq!(answer, b"whole");
    }
}
