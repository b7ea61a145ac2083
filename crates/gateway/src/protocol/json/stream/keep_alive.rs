//! Comments in a stream of events that is silent, so that nothing between here and the browser takes it for dead.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use http_body::Frame;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

/// Proxies end connections that are silent for a minute, some for half of one. The HTML standard says 15 seconds or so.
const SILENCE: Duration = Duration::from_secs(15);

/// A comment (HTML, 9.2.5): readers of events leave it out.
const COMMENT: &[u8] = b": keep-alive\n\n";

pin_project! {
    /// A stream that is never silent for long.
    pub(super) struct KeepAlive<S> {
        #[pin]
        events: S,
        #[pin]
        timer: Sleep,
    }
}

impl<S> KeepAlive<S> {
    /// The same events, and a comment where there is none for a while.
    pub(super) fn new(events: S) -> Self {
        Self { events, timer: sleep_until(Instant::now() + SILENCE) }
    }
}

impl<S: Stream<Item = Frame<Bytes>>> Stream for KeepAlive<S> {
    type Item = Frame<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        let mut this = self.project();
        let next = match this.events.poll_next(context) {
            Poll::Pending if this.timer.as_mut().poll(context).is_ready() => {
                Some(Frame::data(Bytes::from_static(COMMENT)))
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(event) => event,
        };
        this.timer.as_mut().reset(Instant::now() + SILENCE);
        Poll::Ready(next)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stream_of_events_that_is_silent_has_comments() {
        let begun = Instant::now();
        let events = stream::unfold([1, 40, 14].into_iter(), |mut pauses| async {
            sleep(Duration::from_secs(pauses.next()?)).await;
            Some((Frame::data(Bytes::from_static(b"data: {}\n\n")), pauses))
        });
        let first = |frame: Frame<Bytes>| frame.into_data().unwrap()[0];
        let seen: Vec<_> =
            KeepAlive::new(events).map(|frame| (begun.elapsed().as_secs(), first(frame))).collect().await;
        assert_eq!(seen, [(1, b'd'), (16, b':'), (31, b':'), (41, b'd'), (55, b'd')]);
    }
}
