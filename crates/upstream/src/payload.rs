//! The body of a request on its way out: flow control, upload, and what is kept of it to be sent again.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::poll_fn;
use h2::SendStream;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// The body of a request, as a call sends it.
pub trait RequestBody: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static> RequestBody for B {}

/// Bytes of a request that are kept until its answer begins, so that it can be sent again where no endpoint saw it. Most messages
/// are smaller. Until then nothing waits in the window of the answer, for whose bytes a caller's memory is counted.
const MAX_KEPT: usize = 16 << 10;

/// What a call sends. It can be sent again as long as all of it is here.
#[derive(Debug)]
pub(crate) enum Payload<B> {
    /// All of it.
    Whole(Bytes),
    /// A body that nobody has begun to read.
    Stream(B),
    /// A body of which a part was sent, and is here again.
    Begun(Box<Source<B>>),
    /// A part of it is gone.
    Spent,
}

impl<B> Payload<B> {
    /// Whether it can be sent, from its beginning.
    pub(crate) fn is_whole(&self) -> bool {
        !matches!(self, Self::Spent)
    }

    /// Whether all of it is here, so that nobody waits for its caller.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self, Self::Whole(_))
    }
}

impl<B> Payload<B>
where
    B: RequestBody,
{
    /// Sends as much as is here in one piece with the request's headers. The rest is still to be sent, where there is any.
    pub(crate) async fn begin(&mut self, mut stream: SendStream<Bytes>) -> Option<Upload<B>> {
        let (whole, source) = match std::mem::replace(self, Self::Spent) {
            Self::Whole(bytes) => (Some(bytes), None),
            Self::Stream(body) => {
                let mut source = Source::new(body);
                (poll_fn(|context| Poll::Ready(source.poll_whole(context))).await, Some(source))
            }
            Self::Begun(source) => (None, Some(*source)),
            Self::Spent => (None, None),
        };
        let Some(bytes) = whole else {
            return source.map(|source| Upload { source, stream, data: Bytes::new(), end: None, ended: None });
        };
        // The stream says itself what is wrong with it, when its answer is asked for.
        let _ = stream.send_data(bytes.clone(), true);
        *self = Self::Whole(bytes);
        None
    }
}

/// What a body gives next.
#[derive(Clone, Debug)]
enum Piece {
    Data(Bytes),
    /// The last one.
    Trailers(Box<HeaderMap>),
    /// Nothing more.
    End,
    /// It broke off.
    Broken,
}

fn poll_piece<B: Body<Data = Bytes> + Unpin>(body: &mut B, context: &mut Context<'_>) -> Poll<Piece> {
    Pin::new(body).poll_frame(context).map(|next| match next.map(|frame| frame.map(Frame::into_data)) {
        Some(Ok(Ok(data))) => Piece::Data(data),
        Some(Ok(Err(frame))) => Piece::Trailers(Box::new(frame.into_trailers().unwrap_or_default())),
        Some(Err(_)) => Piece::Broken,
        None => Piece::End,
    })
}

/// A body that is sent as it comes, with a copy of what was read of it.
#[derive(Debug)]
pub(crate) struct Source<B> {
    body: B,
    /// What was read and not yet sent.
    read: [Option<Piece>; 2],
    /// All bytes that were read, and nothing once they are too many.
    kept: Option<BytesMut>,
    /// What came after the last byte.
    last: Option<Piece>,
}

impl<B> Source<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    fn new(body: B) -> Self {
        Self { body, read: [None, None], kept: Some(BytesMut::new()), last: None }
    }

    /// All of the body, where it is here already: then nothing of it is copied.
    fn poll_whole(&mut self, context: &mut Context<'_>) -> Option<Bytes> {
        let read = match poll_piece(&mut self.body, context) {
            Poll::Ready(Piece::End) => return Some(Bytes::new()),
            Poll::Ready(Piece::Data(data)) if self.body.is_end_stream() => return Some(data),
            // Bodies of generated stubs say only when they are asked again that there is no more.
            Poll::Ready(Piece::Data(data)) => match poll_piece(&mut self.body, context) {
                Poll::Ready(Piece::End) => return Some(data),
                Poll::Ready(second) => [Some(Piece::Data(data)), Some(second)],
                Poll::Pending => [Some(Piece::Data(data)), None],
            },
            Poll::Ready(other) => [Some(other), None],
            Poll::Pending => [None, None],
        };
        read.iter().flatten().for_each(|piece| self.keep(piece));
        self.read = read;
        None
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Piece> {
        if let Some(piece) = self.read.iter_mut().find_map(Option::take) {
            return Poll::Ready(piece);
        }
        let piece = ready!(poll_piece(&mut self.body, context));
        self.keep(&piece);
        Poll::Ready(piece)
    }

    /// Whether nothing more will come.
    fn is_over(&self) -> bool {
        self.body.is_end_stream() && self.read.iter().all(Option::is_none)
    }

    /// Copies what was read: a part of what a connection has read would keep all of that in memory.
    fn keep(&mut self, piece: &Piece) {
        match piece {
            Piece::Data(data) => {
                self.kept = self.kept.take().filter(|kept| kept.len() + data.len() <= MAX_KEPT);
                if let Some(kept) = &mut self.kept {
                    kept.extend_from_slice(data);
                }
            }
            Piece::Trailers(_) | Piece::End => self.last = Some(piece.clone()),
            Piece::Broken => self.kept = None,
        }
    }

    /// The same from its beginning, where that is still here.
    fn again(mut self) -> Payload<B> {
        let Some(kept) = &self.kept else { return Payload::Spent };
        let data = Bytes::copy_from_slice(kept);
        self.read = [Some(Piece::Data(data)), self.last.clone()];
        Payload::Begun(Box::new(self))
    }
}

/// The rest of a request's body on its way.
pub(crate) struct Upload<B> {
    source: Source<B>,
    stream: SendStream<Bytes>,
    /// What is left of the piece that is being sent.
    data: Bytes,
    /// How it ended.
    end: Option<End>,
    /// When.
    ended: Option<Instant>,
}

/// How an upload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It was sent to its end, or the peer wants no more of it.
    Sent,
    /// The body itself broke off.
    Broken,
}

impl<B> Upload<B>
where
    B: RequestBody,
{
    /// Sends on while this is waited for, which is the head of the answer.
    pub(crate) async fn until<T>(&mut self, answer: impl Future<Output = T>) -> T {
        let mut answer = pin!(answer);
        poll_fn(|context| {
            let _ = self.poll(context);
            answer.as_mut().poll(context)
        })
        .await
    }

    /// How long after this moment all of it was sent; none where it is not yet.
    pub(crate) fn sent_after(&self, since: Instant) -> Option<Duration> {
        self.ended.map(|ended| ended.saturating_duration_since(since))
    }

    /// Whether the body itself broke off.
    pub(crate) fn is_broken(&self) -> bool {
        self.end == Some(End::Broken)
    }

    /// What was sent on a stream that nobody processed, to be sent once more.
    pub(crate) fn again(self) -> Payload<B> {
        self.source.again()
    }

    /// Sends the rest in a task of its own: the answer has begun, so that nothing will be sent again.
    pub(crate) fn detach(mut self) -> Sending {
        if self.end.is_some() {
            let broken = self.is_broken().then(|| Arc::new(AtomicBool::new(true)));
            return Sending { task: None, broken };
        }
        self.source.kept = None;
        let broken = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&broken);
        let run = async move {
            poll_fn(|context| self.poll(context)).await;
            told.store(self.is_broken(), Ordering::Relaxed);
        };
        Sending { task: Some(tokio::spawn(run).abort_handle()), broken: Some(broken) }
    }

    /// Sends as much as the peer takes, so that no more of the body is read than can leave. Ready once there is no more to send.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.end.is_none() {
            if self.data.is_empty() {
                let piece = ready!(self.poll_piece(context));
                self.take(piece);
            } else {
                ready!(self.poll_data(context));
            }
        }
        self.ended.get_or_insert_with(Instant::now);
        Poll::Ready(())
    }

    /// The next piece of the body; its end as well where the peer wants no more of it.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Piece> {
        if self.stream.poll_reset(context).is_ready() {
            return Poll::Ready(Piece::End);
        }
        self.source.poll_next(context)
    }

    fn take(&mut self, piece: Piece) {
        match piece {
            // Peers give up a whole connection over too many frames that carry nothing.
            Piece::Data(data) if data.is_empty() && !self.source.is_over() => {}
            Piece::Data(data) if data.is_empty() => self.finish(),
            Piece::Data(data) => self.data = data,
            Piece::Trailers(trailers) => {
                let _ = self.stream.send_trailers(*trailers);
                self.end = Some(End::Sent);
            }
            Piece::End => self.finish(),
            Piece::Broken => {
                self.stream.send_reset(h2::Reason::CANCEL);
                self.end = Some(End::Broken);
            }
        }
    }

    /// Ends the stream, whose last bytes are gone.
    fn finish(&mut self) {
        let _ = self.stream.send_data(Bytes::new(), true);
        self.end = Some(End::Sent);
    }

    /// Sends as many bytes of the piece as there is room for.
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.stream.reserve_capacity(self.data.len());
        while self.stream.capacity() == 0 {
            if !matches!(ready!(self.stream.poll_capacity(context)), Some(Ok(_))) {
                self.end = Some(End::Sent);
                return Poll::Ready(());
            }
        }
        let part = self.data.split_to(self.stream.capacity().min(self.data.len()));
        let is_last = self.data.is_empty() && self.source.is_over();
        if self.stream.send_data(part, is_last).is_err() || is_last {
            self.end = Some(End::Sent);
        }
        Poll::Ready(())
    }
}

/// What still sends the rest of a request, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    task: Option<AbortHandle>,
    broken: Option<Arc<AtomicBool>>,
}

impl Sending {
    /// Whether the request's own body broke off.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.as_ref().is_some_and(|broken| broken.load(Ordering::Relaxed))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        // Letting go of the stream is what resets it at the peer.
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests;
