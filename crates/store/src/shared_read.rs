//! One read for all who ask at the same time.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::sync::watch;

/// Something small that is read all the time and must be no older than its question, such as whether anything has changed. Who asks is
/// answered by a read that began afterwards; those who ask while one is under way share the next.
#[derive(Debug)]
pub struct SharedRead<T, E> {
    /// How many reads have begun.
    begun: AtomicU64,
    is_reading: AtomicBool,
    last: watch::Sender<Last<T, E>>,
}

/// The newest read that ended.
#[derive(Debug)]
struct Last<T, E> {
    number: u64,
    outcome: Option<Result<T, E>>,
}

impl<T, E> Default for SharedRead<T, E> {
    fn default() -> Self {
        let last = watch::Sender::new(Last { number: 0, outcome: None });
        Self { begun: AtomicU64::new(0), is_reading: AtomicBool::new(false), last }
    }
}

impl<T: Clone, E: Clone> SharedRead<T, E> {
    /// What `read` finds, here or for somebody else who asked. A read that was already under way may have looked too early, so its value
    /// is no answer; its failure is, so that nobody waits through two timeouts.
    pub async fn read<F>(&self, read: impl FnOnce() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let begun = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.subscribe();
        let ended = last.borrow_and_update().number;
        loop {
            if let Some(turn) = Turn::take(self) {
                return turn.read(read()).await;
            }
            // It is told of every turn that ends, and the sender lives as long as this.
            let _ = last.changed().await;
            let newest = last.borrow_and_update();
            match &newest.outcome {
                Some(Ok(found)) if newest.number > begun => return Ok(found.clone()),
                Some(Err(error)) if newest.number > ended => return Err(error.clone()),
                _ => {}
            }
        }
    }
}

/// The right to read. It goes to the next when this is dropped, also where whoever had it gave up.
struct Turn<'a, T, E> {
    shared: &'a SharedRead<T, E>,
    ended: Last<T, E>,
}

impl<'a, T: Clone, E: Clone> Turn<'a, T, E> {
    fn take(shared: &'a SharedRead<T, E>) -> Option<Self> {
        if shared.is_reading.swap(true, Ordering::SeqCst) {
            return None;
        }
        let number = shared.begun.fetch_add(1, Ordering::SeqCst) + 1;
        Some(Self { shared, ended: Last { number, outcome: None } })
    }

    async fn read(mut self, read: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let outcome = read.await;
        self.ended.outcome = Some(outcome.clone());
        outcome
    }
}

impl<T, E> Drop for Turn<'_, T, E> {
    fn drop(&mut self) {
        // Free before anybody is told, who would find it taken otherwise and wait for nothing.
        self.shared.is_reading.store(false, Ordering::SeqCst);
        let (number, outcome) = (self.ended.number, self.ended.outcome.take());
        self.shared.last.send_modify(|last| {
            // Another one may have been faster since.
            if outcome.is_some() && number > last.number {
                *last = Last { number, outcome };
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, sync::atomic::AtomicU32, task::Poll};

    use futures_util::poll;
    use tokio::sync::Notify;

    use super::*;

    /// What is read: its reads end when they are told to.
    #[derive(Default)]
    struct Store {
        shared: SharedRead<u32, &'static str>,
        value: AtomicU32,
        reads: AtomicU32,
        fails: AtomicBool,
        end: Notify,
    }

    impl Store {
        /// As the statement does, it sees what was there when it began.
        async fn ask(&self) -> Result<u32, &'static str> {
            let read = || async {
                self.reads.fetch_add(1, Ordering::SeqCst);
                let found = self.value.load(Ordering::SeqCst);
                self.end.notified().await;
                if self.fails.load(Ordering::SeqCst) { Err("down") } else { Ok(found) }
            };
            self.shared.read(read).await
        }
    }

    #[tokio::test]
    async fn who_asks_during_a_read_is_answered_by_the_next_with_all_others() {
        let store = Store::default();
        let (mut first, mut others) = (pin!(store.ask()), Vec::new());
        assert!(poll!(first.as_mut()).is_pending());
        store.value.store(1, Ordering::SeqCst);
        for _ in 0..5 {
            others.push(Box::pin(store.ask()));
            assert!(poll!(others.last_mut().unwrap()).is_pending());
        }
        store.end.notify_one();
        assert_eq!(poll!(first.as_mut()), Poll::Ready(Ok(0)));
        for other in &mut others {
            assert!(poll!(other).is_pending(), "what was read before they asked is no answer");
        }
        store.end.notify_one();
        for other in &mut others {
            assert_eq!(poll!(other), Poll::Ready(Ok(1)));
        }
        assert_eq!(store.reads.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn failure_answers_all_who_wait_and_nobody_who_comes_after_it() {
        let store = Store::default();
        let (mut first, mut second) = (pin!(store.ask()), pin!(store.ask()));
        assert!(poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
        store.fails.store(true, Ordering::SeqCst);
        store.end.notify_one();
        for waiting in [first.as_mut(), second.as_mut()] {
            assert_eq!(poll!(waiting), Poll::Ready(Err("down")));
        }
        store.fails.store(false, Ordering::SeqCst);
        store.end.notify_one();
        assert_eq!(store.ask().await, Ok(0));
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_read_to_another() {
        let store = Store::default();
        let (mut first, mut second) = (Box::pin(store.ask()), pin!(store.ask()));
        assert!(poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
        drop(first);
        assert!(poll!(second.as_mut()).is_pending(), "it reads itself");
        store.end.notify_one();
        assert_eq!(poll!(second.as_mut()), Poll::Ready(Ok(0)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nobody_waits_for_ever_where_all_ask_at_once() {
        let shared = std::sync::Arc::new(SharedRead::<u32, &'static str>::default());
        let tasks = (0..64).map(|_| {
            let shared = std::sync::Arc::clone(&shared);
            tokio::spawn(async move {
                for _ in 0..500 {
                    let read = || async {
                        tokio::task::yield_now().await;
                        Ok(7)
                    };
                    assert_eq!(shared.read(read).await, Ok(7));
                }
            })
        });
        let all = futures_util::future::join_all(tasks.collect::<Vec<_>>());
        let ended = tokio::time::timeout(std::time::Duration::from_secs(30), all).await.expect("nobody waits for ever");
        assert!(ended.into_iter().all(|task| task.is_ok()));
    }
}
