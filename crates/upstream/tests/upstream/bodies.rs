//! Request bodies of every temper.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

/// Frames that are there, with a count of those that were taken. It says itself when the last one is gone.
pub(crate) struct Frames {
    left: VecDeque<Frame<Bytes>>,
    pub taken: Arc<AtomicUsize>,
}

impl Frames {
    pub(crate) fn new(frames: impl IntoIterator<Item = Frame<Bytes>>) -> Self {
        Self { left: frames.into_iter().collect(), taken: Arc::default() }
    }

    pub(crate) fn of(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        Self::new(chunks.into_iter().map(Frame::data))
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(self.left.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }
}

/// Frames as a test sends them. Its end, or an error, is the test's as well.
pub(crate) struct Piped(mpsc::Receiver<Result<Frame<Bytes>, &'static str>>);

pub(crate) type Pipe = mpsc::Sender<Result<Frame<Bytes>, &'static str>>;

pub(crate) fn pipe() -> (Pipe, Piped) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Piped(receiver))
}

impl Body for Piped {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        self.0.poll_recv(context)
    }
}

pub(crate) fn data(bytes: &'static [u8]) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(bytes))
}
