//! Dependency probes: asks at an interval whether something outside of the process answers.
//!
//! Only for what does not say by itself when it goes, such as a database. What the process knows about itself is a watch
//! already: see [`Health::follow_dependency`](crate::health::Health::follow_dependency).

use std::{mem, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at},
};

/// Asks at once, and then at every interval for as long as somebody holds the watch; it changes with the answers. `ask` has
/// to end in a time of its own. The next question never waits for less than the interval, however long an answer took.
pub async fn every<A, F>(interval: Duration, ask: A) -> watch::Receiver<bool>
where
    A: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = bool> + Send,
{
    let (sender, answers) = watch::channel(ask().await);
    tokio::spawn(async move {
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = sender.closed() => return,
            }
            let answered = ask().await;
            sender.send_if_modified(|known| mem::replace(known, answered) != answered);
        }
    });
    answers
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    };

    use tokio::time::{advance, sleep};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A store that can be switched off, and how often it was asked.
    #[derive(Default)]
    struct Store {
        down: AtomicBool,
        asked: AtomicUsize,
    }

    impl Store {
        async fn probed(self: &Arc<Self>) -> watch::Receiver<bool> {
            let store = Arc::clone(self);
            every(SECOND, move || {
                store.asked.fetch_add(1, Ordering::Relaxed);
                let answers = !store.down.load(Ordering::Relaxed);
                async move { answers }
            })
            .await
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn probe_asks_at_once_and_reports_changes() {
        let store = Arc::new(Store::default());
        let mut answers = store.probed().await;
        assert!(*answers.borrow_and_update());
        store.down.store(true, Ordering::Relaxed);
        answers.changed().await.unwrap();
        assert!(!*answers.borrow_and_update());
        assert_eq!(store.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn probe_with_equal_answers_reports_no_change() {
        let store = Arc::new(Store::default());
        let answers = store.probed().await;
        sleep(5 * SECOND + SECOND / 2).await;
        assert_eq!(store.asked(), 6);
        assert!(!answers.has_changed().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn probe_ends_with_its_last_listener() {
        let store = Arc::new(Store::default());
        drop(store.probed().await);
        tokio::task::yield_now().await;
        advance(10 * SECOND).await;
        tokio::task::yield_now().await;
        assert_eq!((store.asked(), Arc::strong_count(&store)), (1, 1));
    }
}
