//! One timer for the deadlines of a call, of which several hold at a time: that of the call, that of its attempt, that by which its
//! answer must be written.
//!
//! Who waits sets a timer only where nothing that it waits for has one that ends as early: that one wakes the task, and all who wait
//! in it look again. A wait that ends in the poll in which it began, as most do, sets none.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Deadline;

thread_local! {
    /// By when the task that is polled is woken by a timer, as far as what was polled within the current wait has set one.
    static WAKES: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Work was not done in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Does the work until its deadline at the latest. What is done at once is done, even where no time is left.
pub fn within<F: Future>(deadline: Deadline, work: F) -> Within<F> {
    Within { work, at: deadline.at(), timer: None }
}

pin_project! {
    /// Work that ends with its deadline.
    #[must_use = "nothing is done before it is polled"]
    pub struct Within<F> {
        #[pin]
        work: F,
        at: Instant,
        #[pin]
        timer: Option<Sleep>,
    }

    impl<F> PinnedDrop for Within<F> {
        fn drop(this: Pin<&mut Self>) {
            if this.timer.is_some() {
                forget();
            }
        }
    }
}

impl<F: Future> Future for Within<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let scope = Scope::enter();
        if let Poll::Ready(done) = this.work.poll(context) {
            return Poll::Ready(Ok(done));
        }
        if Scope::is_woken_by(*this.at) {
            return scope.pending(None);
        }
        if this.timer.is_none() {
            this.timer.set(Some(sleep_until(*this.at)));
        }
        let is_over = this.timer.as_pin_mut().is_none_or(|timer| timer.poll(context).is_ready());
        if is_over { Poll::Ready(Err(Elapsed)) } else { scope.pending(Some(*this.at)) }
    }
}

/// The timer of a wait that is polled in pieces, such as that for the frames of a body.
#[derive(Debug, Default)]
pub(crate) struct DeadlineTimer(Option<Pin<Box<Sleep>>>);

impl DeadlineTimer {
    /// Polls a piece of the work, which says by when it has to be done, if at all; ready with nothing once it is later than that.
    pub(crate) fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        work: impl FnOnce(&mut Context<'_>) -> (Poll<T>, Option<Instant>),
    ) -> Poll<Option<T>> {
        let scope = Scope::enter();
        let (polled, at) = work(context);
        if let Poll::Ready(done) = polled {
            return Poll::Ready(Some(done));
        }
        let Some(at) = at.filter(|at| !Scope::is_woken_by(*at)) else { return scope.pending(None) };
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        if timer.as_mut().poll(context).is_ready() { Poll::Ready(None) } else { scope.pending(Some(at)) }
    }
}

impl Drop for DeadlineTimer {
    fn drop(&mut self) {
        if self.0.is_some() {
            forget();
        }
    }
}

/// A timer that is gone wakes nobody: whoever counted on it in this poll sets one of their own.
fn forget() {
    let _ = WAKES.try_with(|wakes| wakes.set(None));
}

/// One poll of a wait. However it ends, by a panic as well, the wait around it learns no more than what holds.
struct Scope {
    around: Option<Instant>,
}

impl Scope {
    fn enter() -> Self {
        Self { around: WAKES.replace(None) }
    }

    /// Whether a timer within the present poll wakes the task by then.
    fn is_woken_by(at: Instant) -> bool {
        WAKES.get().is_some_and(|wakes| wakes <= at)
    }

    /// Ends the poll with work that is pending, and perhaps a timer that was set for it.
    fn pending<T>(mut self, timer: Option<Instant>) -> Poll<T> {
        let earliest = [self.around, WAKES.get(), timer].into_iter().flatten().min();
        self.around = earliest;
        Poll::Pending
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        WAKES.set(self.around);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, poll_fn},
        pin::pin,
        time::Duration,
    };

    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(seconds: u32) -> Deadline {
        Deadline::after(SECOND * seconds)
    }

    /// Whether the outer of two waits set a timer in its first poll.
    fn outer_sets_timer(inner: Deadline, outer: Deadline) -> bool {
        let mut work = pin!(within(outer, within(inner, pending::<()>())));
        assert!(work.as_mut().now_or_never().is_none());
        work.project().timer.is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn outer_wait_sets_no_timer_where_the_inner_one_ends_by_then() {
        let deadline = after(2);
        assert!(!outer_sets_timer(deadline, deadline));
        assert!(!outer_sets_timer(after(1), deadline));
        assert!(outer_sets_timer(after(3), deadline));
    }

    #[tokio::test(start_paused = true)]
    async fn work_ends_with_its_deadline() {
        let deadline = after(2);
        assert_eq!(within(deadline, pending::<()>()).await, Err(Elapsed));
        assert!(deadline.expired());
        assert_eq!(within(deadline, async { 7 }).await, Ok(7), "what is done at once is done");
    }

    #[tokio::test(start_paused = true)]
    async fn outer_deadline_holds_after_the_inner_wait_is_over() {
        let begun = Instant::now();
        let work = async {
            assert_eq!(within(after(1), pending::<()>()).await, Err(Elapsed));
            pending::<()>().await;
        };
        assert_eq!(within(after(2), work).await, Err(Elapsed));
        assert_eq!(begun.elapsed(), 2 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn outer_deadline_holds_where_the_inner_wait_is_given_up_in_the_same_poll() {
        let begun = Instant::now();
        let work = async {
            {
                let mut given_up = pin!(within(after(1), pending::<()>()));
                assert!(poll_fn(|context| Poll::Ready(given_up.as_mut().poll(context).is_pending())).await);
            }
            pending::<()>().await;
        };
        assert_eq!(within(after(2), work).await, Err(Elapsed));
        assert_eq!(begun.elapsed(), 2 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn timer_of_another_task_is_not_counted_on() {
        let begun = Instant::now();
        let other = tokio::spawn(within(after(1), pending::<()>()));
        tokio::task::yield_now().await;
        assert_eq!(within(after(2), pending::<()>()).await, Err(Elapsed));
        assert_eq!(begun.elapsed(), 2 * SECOND);
        assert_eq!(other.await.unwrap(), Err(Elapsed));
    }

    #[tokio::test(start_paused = true)]
    async fn wait_in_pieces_ends_at_the_moment_that_it_says_last() {
        let (mut timer, begun) = (DeadlineTimer::default(), Instant::now());
        for seconds in [1, 3] {
            let at = Some(begun + SECOND * seconds);
            let ended = poll_fn(|context| timer.poll(context, |_| (Poll::<()>::Pending, at))).await;
            assert_eq!((ended, begun.elapsed()), (None, SECOND * seconds));
        }
        advance(SECOND).await;
        let done = poll_fn(|context| timer.poll(context, |_| (Poll::Ready(7), None))).await;
        assert_eq!(done, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn panic_within_leaves_nothing_to_count_on() {
        let inner = async {
            let mut waits = pin!(within(after(1), pending::<()>()));
            poll_fn(|context| Poll::Ready(waits.as_mut().poll(context).is_pending())).await;
            panic!("boom");
        };
        let caught = std::panic::AssertUnwindSafe(within(after(5), inner)).catch_unwind().await;
        assert!(caught.is_err());
        assert_eq!(WAKES.get(), None);
    }
}
