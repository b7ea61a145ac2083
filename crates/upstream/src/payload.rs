//! The body of a request on its way out: flow control and upload.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::poll_fn;
use h2::SendStream;
use http_body::{Body, Frame};
use tokio::task::AbortHandle;

/// The body of a request, as a call sends it.
pub trait RequestBody: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static> RequestBody for B {}

/// What a call sends. It can be sent again as long as all of it is here.
#[derive(Debug)]
pub(crate) enum Payload<B> {
    /// All of it.
    Whole(Bytes),
    /// A body that nobody has begun to read.
    Stream(B),
    /// A part of it is gone.
    Spent,
}

impl<B> Payload<B> {
    /// Whether it can be sent, from its beginning.
    pub(crate) fn is_whole(&self) -> bool {
        !matches!(self, Self::Spent)
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

impl<B> Payload<B>
where
    B: RequestBody,
{
    /// Sends as much as is here in one piece with the request's headers, and the rest in a task of its own.
    pub(crate) async fn send(&mut self, mut stream: SendStream<Bytes>) -> Sending {
        let mut body = match std::mem::replace(self, Self::Spent) {
            Self::Whole(bytes) => {
                // The stream says itself what is wrong with it, when its answer is asked for.
                let _ = stream.send_data(bytes.clone(), true);
                *self = Self::Whole(bytes);
                return Sending::default();
            }
            Self::Stream(body) => body,
            Self::Spent => return Sending::default(),
        };
        match poll_fn(|context| Poll::Ready(poll_whole(&mut body, context))).await {
            PolledBody::Whole(bytes) => {
                let _ = stream.send_data(bytes.clone(), true);
                *self = Self::Whole(bytes);
                Sending::default()
            }
            PolledBody::Part(read) => spawn(Upload { body, stream, read }),
        }
    }
}

/// What a first look at a body finds.
enum PolledBody<B: Body> {
    /// All of it, in one piece.
    Whole(Bytes),
    /// What was read of it to see that.
    Part(Read<B>),
}

fn poll_whole<B: Body<Data = Bytes> + Unpin>(body: &mut B, context: &mut Context<'_>) -> PolledBody<B> {
    let data = match poll_next(body, context) {
        Poll::Ready(None) => return PolledBody::Whole(Bytes::new()),
        Poll::Ready(Some(Ok(frame))) if frame.is_data() => frame.into_data().unwrap_or_default(),
        Poll::Ready(Some(frame)) => return PolledBody::Part([Some(frame), None]),
        Poll::Pending => return PolledBody::Part([None, None]),
    };
    if body.is_end_stream() {
        return PolledBody::Whole(data);
    }
    // Bodies of generated stubs say only when they are asked again that there is no more.
    match poll_next(body, context) {
        Poll::Ready(None) => PolledBody::Whole(data),
        Poll::Ready(second) => PolledBody::Part([Some(Ok(Frame::data(data))), second]),
        Poll::Pending => PolledBody::Part([Some(Ok(Frame::data(data))), None]),
    }
}

/// What a body gives next.
type Next<B> = Option<Result<Frame<Bytes>, <B as Body>::Error>>;

/// What was read of a body to see whether it is there whole, in its order.
type Read<B> = [Next<B>; 2];

fn poll_next<B: Body<Data = Bytes> + Unpin>(body: &mut B, context: &mut Context<'_>) -> Poll<Next<B>> {
    Pin::new(body).poll_frame(context)
}

fn spawn<B>(upload: Upload<B>) -> Sending
where
    B: RequestBody,
{
    let broken = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&broken);
    let task = tokio::spawn(upload.run(told)).abort_handle();
    Sending { task: Some(task), broken: Some(broken) }
}

/// The rest of a request's body.
struct Upload<B: Body> {
    body: B,
    stream: SendStream<Bytes>,
    read: Read<B>,
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    async fn run(mut self, broken: Arc<AtomicBool>) {
        loop {
            let frame = match self.read.iter_mut().find_map(Option::take) {
                Some(frame) => Some(frame),
                None => poll_fn(|context| self.poll_frame(context)).await,
            };
            let goes_on = match frame {
                Some(Ok(frame)) => self.pass(frame).await,
                Some(Err(_)) => {
                    broken.store(true, Ordering::Relaxed);
                    self.stream.send_reset(h2::Reason::CANCEL);
                    false
                }
                None => {
                    let _ = self.stream.send_data(Bytes::new(), true);
                    false
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// The next frame of the body; none as well where the peer wants no more of it.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Next<B>> {
        if self.stream.poll_reset(context).is_ready() {
            return Poll::Ready(None);
        }
        poll_next(&mut self.body, context)
    }

    /// Passes a frame on; whether there may be another.
    async fn pass(&mut self, frame: Frame<Bytes>) -> bool {
        match frame.into_data() {
            Ok(data) => self.pass_data(data).await,
            Err(frame) => {
                let _ = self.stream.send_trailers(frame.into_trailers().unwrap_or_default());
                false
            }
        }
    }

    /// Sends as much at a time as the peer takes, so that no more of the body is read than can leave.
    async fn pass_data(&mut self, mut data: Bytes) -> bool {
        let is_last = self.body.is_end_stream() && self.read.iter().all(Option::is_none);
        // Peers give up a whole connection over too many frames that carry nothing.
        if data.is_empty() && !is_last {
            return true;
        }
        loop {
            if !data.is_empty() {
                self.stream.reserve_capacity(data.len());
                let has_room = poll_fn(|context| self.poll_room(context)).await;
                if !has_room {
                    return false;
                }
            }
            let part = data.split_to(self.stream.capacity().min(data.len()));
            let ends = is_last && data.is_empty();
            if self.stream.send_data(part, ends).is_err() || ends {
                return false;
            }
            if data.is_empty() {
                return true;
            }
        }
    }

    /// Whether there is room to send; none any more where the stream is over.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(false),
            }
        }
        Poll::Ready(true)
    }
}

#[cfg(test)]
mod tests;
