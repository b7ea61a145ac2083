use std::{
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering},
};

use accord_api::accord::auth::v1::WatchResponse;
use accord_upstream::Client;
use tokio::time::{advance, timeout};

use super::*;

const BOUND: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_hours(1);

/// Readiness as a listener sees it, and how often the task behind it was woken.
struct Observed {
    latest: Arc<LatestSnapshot>,
    login: Arc<Login>,
    ready: watch::Receiver<bool>,
    wakeups: Arc<AtomicUsize>,
}

impl Observed {
    fn begin() -> Self {
        let auth = Client::lazy("http://127.0.0.1:1").unwrap();
        let latest = Arc::new(LatestSnapshot::none());
        let login = Arc::new(Login::stranger(auth));
        let readiness = Readiness { latest: Arc::clone(&latest), login: Arc::clone(&login), bound: BOUND };
        let (sender, ready) = watch::channel(false);
        let wakeups = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&wakeups);
        let mut task = Box::pin(readiness.notify(sender));
        tokio::spawn(poll_fn(move |context| {
            counted.fetch_add(1, Ordering::Relaxed);
            task.as_mut().poll(context)
        }));
        Self { latest, login, ready, wakeups }
    }

    /// Auth answers a question that is asked now.
    fn answer(&self) {
        let everything = WatchResponse { question: 1, revision: 1, full: true, ..WatchResponse::default() };
        self.latest.apply(everything, Some(Instant::now()), 0);
    }

    /// A login whose token ends then.
    fn log_in(&self, life: Duration) {
        self.login.hold("Bearer token".parse().unwrap(), Instant::now() + life);
    }

    /// Waits for the next change, however far the clock has to be put forward; what it is, and how long that took.
    async fn change(&mut self) -> (bool, Duration) {
        let begun = Instant::now();
        timeout(2 * HOUR, self.ready.changed()).await.expect("a change").unwrap();
        (*self.ready.borrow_and_update(), begun.elapsed())
    }

    /// Whether it is ready once the clock stands so much later, and how often the task was woken until then.
    async fn after(&self, time: Duration) -> (bool, usize) {
        settle().await;
        let before = self.wakeups.load(Ordering::Relaxed);
        advance(time).await;
        settle().await;
        (*self.ready.borrow(), self.wakeups.load(Ordering::Relaxed) - before)
    }
}

/// Lets every task run that can.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_needs_an_answer_and_a_login() {
    let mut observed = Observed::begin();
    assert!(!observed.after(Duration::ZERO).await.0);
    observed.answer();
    assert!(!observed.after(Duration::ZERO).await.0, "nobody has logged in");
    observed.log_in(HOUR);
    assert_eq!(observed.change().await, (true, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn readiness_ends_when_the_bound_passes_and_returns_with_an_answer() {
    let mut observed = Observed::begin();
    observed.log_in(HOUR);
    observed.answer();
    assert_eq!(observed.change().await, (true, Duration::ZERO));
    assert_eq!(observed.change().await, (false, BOUND + RESOLUTION));
    observed.answer();
    assert_eq!(observed.change().await, (true, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn readiness_lasts_from_the_newest_answer() {
    let mut observed = Observed::begin();
    observed.log_in(HOUR);
    observed.answer();
    assert_eq!(observed.change().await, (true, Duration::ZERO));
    observed.after(BOUND.saturating_sub(RESOLUTION)).await;
    observed.answer();
    assert_eq!(observed.change().await, (false, BOUND + RESOLUTION));
}

#[tokio::test(start_paused = true)]
async fn readiness_ends_with_the_workload_token_and_returns_with_a_login() {
    let mut observed = Observed::begin();
    observed.answer();
    observed.log_in(Duration::from_secs(2));
    assert_eq!(observed.change().await, (true, Duration::ZERO));
    assert_eq!(observed.change().await, (false, Duration::from_secs(2) + RESOLUTION));
    observed.log_in(HOUR);
    assert_eq!(observed.change().await, (true, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn readiness_ends_early_with_a_login_of_a_shorter_life() {
    let mut observed = Observed::begin();
    observed.answer();
    observed.log_in(HOUR);
    assert_eq!(observed.change().await, (true, Duration::ZERO));
    observed.log_in(Duration::from_secs(1));
    assert_eq!(observed.change().await, (false, Duration::from_secs(1) + RESOLUTION));
}

#[tokio::test(start_paused = true)]
async fn readiness_is_not_polled() {
    let mut observed = Observed::begin();
    assert_eq!(observed.after(HOUR).await, (false, 0), "before the first answer nothing fires");
    observed.log_in(2 * HOUR);
    observed.answer();
    assert_eq!(observed.change().await, (true, Duration::ZERO));
    assert_eq!(observed.after(BOUND.saturating_sub(RESOLUTION)).await, (true, 0), "up to the bound nothing fires");
    assert_eq!(observed.after(2 * RESOLUTION).await, (false, 1), "one timer for the moment of the change");
    assert_eq!(observed.after(HOUR).await, (false, 0), "after it nothing fires");
}

#[tokio::test(start_paused = true)]
async fn readiness_task_sleeps_through_answers_while_ready() {
    let mut observed = Observed::begin();
    observed.log_in(HOUR);
    observed.answer();
    assert_eq!(observed.change().await, (true, Duration::ZERO));
    for _ in 0..4 {
        assert_eq!(observed.after(Duration::from_secs(1)).await, (true, 0));
        observed.answer();
    }
    assert_eq!(observed.after(Duration::from_secs(2)).await, (true, 1), "the first answer's timer looks once more");
}

#[tokio::test(start_paused = true)]
async fn readiness_task_ends_with_its_last_listener() {
    let Observed { latest, login, ready, .. } = Observed::begin();
    settle().await;
    drop(ready);
    settle().await;
    assert_eq!((Arc::strong_count(&latest), Arc::strong_count(&login)), (1, 1));
}
