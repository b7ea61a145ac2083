//! Write deadline: a response is written in chunks, and no longer than its caller may take to read it.
//!
//! A body is asked for more only when the peer has read what came before. A peer that reads nothing would keep a call's
//! in-flight slot, its upstream and its bytes for as long as the connection lives, whatever the deadline says. So whoever writes a
//! response is dropped soon after the deadline of its call: the stream in HTTP/2, the connection in HTTP/1.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::deadline::{Deadline, DeadlineTimer};

/// The most that is handed over at once, since what has been handed over waits for the peer without a bound: a frame of
/// HTTP/2.
const CHUNK: usize = 16 * 1024;

/// How long after the deadline its trailers, or the rest of a slow answer, may still take to get out.
const GRACE: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// By when the response that this task writes must be out; `None` for as long as it takes.
    static UNTIL: Cell<Option<Instant>>;
}

/// Ends a writer of responses that is not done in time.
#[derive(Default)]
pub(crate) struct WriteDeadline {
    until: Option<Instant>,
    timer: DeadlineTimer,
}

impl WriteDeadline {
    /// Runs the writer; `None` if a response was not out in its time.
    pub(crate) async fn enforce<F: Future + Unpin>(&mut self, mut writer: F) -> Option<F::Output> {
        poll_fn(|context| self.poll(Pin::new(&mut writer), context)).await
    }

    fn poll<F: Future>(&mut self, writer: Pin<&mut F>, context: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let Self { until, timer } = self;
        timer.poll(context, |context| {
            let written = UNTIL.sync_scope(Cell::new(*until), || {
                let written = writer.poll(context);
                *until = UNTIL.with(Cell::get);
                written
            });
            (written, until.map(|until| until + GRACE))
        })
    }
}

/// Runs the streams of HTTP/2 connections: each call is a task with a write deadline of its own.
#[derive(Clone)]
pub(crate) struct StreamExecutor;

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        // In a place of its own: a task is copied several times until it runs, and once more when it ends.
        tokio::spawn(Enforced { stream: Box::pin(stream), deadline: WriteDeadline::default() });
    }
}

pin_project! {
    /// A stream that ends with its write deadline.
    struct Enforced<F> {
        #[pin]
        stream: F,
        deadline: WriteDeadline,
    }
}

impl<F: Future> Future for Enforced<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.deadline.poll(this.stream, context).map(drop)
    }
}

/// Has the response that this task is about to give written by then; without that it takes the time it takes. To be called by
/// whoever gives the response, in the task of its connection or stream.
pub fn write_by(deadline: Deadline) {
    set(Some(deadline.at()));
}

/// Begins to write a response.
pub(crate) fn send<B>(response: Response<B>, call: TaskTrackerToken) -> Response<ChunkedBody<B>> {
    response.map(|inner| ChunkedBody { inner, rest: Bytes::new(), _written: Written(call) })
}

fn set(until: Option<Instant>) {
    // Without a write deadline nobody waits for the response to be read.
    let _ = UNTIL.try_with(|cell| cell.set(until));
}

/// Ends the call, and its write deadline: the next one of the connection has its own.
struct Written(#[expect(dead_code, reason = "held until the response is written")] TaskTrackerToken);

impl Drop for Written {
    fn drop(&mut self) {
        set(None);
    }
}

pin_project! {
    /// A body in chunks.
    pub(crate) struct ChunkedBody<B> {
        #[pin]
        inner: B,
        rest: Bytes,
        _written: Written,
    }
}

impl<B: Body<Data = Bytes>> Body for ChunkedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if this.rest.is_empty() {
            match ready!(this.inner.poll_frame(context)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => *this.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let chunk = this.rest.split_to(this.rest.len().min(CHUNK));
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use http_body_util::{BodyExt, Full};
    use tokio_util::task::TaskTracker;

    use super::*;

    #[tokio::test]
    async fn large_response_is_written_in_chunks() {
        let whole = Bytes::from(vec![7; 3 * CHUNK + 1]);
        let mut body = send(Response::new(Full::new(whole.clone())), TaskTracker::new().token()).into_body();
        let (mut written, mut chunks) = (Vec::new(), 0);
        while !body.is_end_stream() {
            assert_eq!(body.size_hint().exact(), Some((whole.len() - written.len()) as u64));
            written.extend(body.frame().await.unwrap().unwrap().into_data().unwrap());
            chunks += 1;
        }
        assert_eq!((written, chunks), (whole.to_vec(), 4));
    }

    #[tokio::test(start_paused = true)]
    async fn write_deadline_of_one_response_does_not_bound_the_next() {
        let mut deadline = WriteDeadline::default();
        let writer = async {
            write_by(Deadline::after(GRACE));
            drop(send(Response::new(Full::new(Bytes::new())), TaskTracker::new().token()));
            tokio::time::sleep(GRACE * 9).await;
        };
        assert_eq!(deadline.enforce(pin!(writer)).await, Some(()));
    }
}
