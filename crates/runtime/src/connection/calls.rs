//! The calls of one connection, for its end: when its first one has come, and when none is in flight any more.
//!
//! Who has just connected when a drain begins was told by the kernel that it is served, and no client sends again what breaks on a
//! new connection. So its first call is waited for before it is asked to go; one that has had time
//! for it is an idle connection, as those are that clients keep and repeat their calls for.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use crate::shutdown::Shutdown;

/// How long the first call of a new connection is waited for: what its client sent when it had connected is there by then.
const FIRST_CALL: Duration = Duration::from_secs(1);

/// How long a connection that was asked to go may stay without a call, and how often that is looked at.
const IDLE_LIMIT: Duration = Duration::from_secs(5);
const IDLE_CHECK: Duration = Duration::from_secs(1);

/// The calls of a connection. Clones share them.
#[derive(Clone)]
pub(super) struct Calls {
    opened_at: Instant,
    in_flight: TaskTracker,
    begun: Arc<Notify>,
}

impl Calls {
    /// Of a connection that is open from now on: accepted, and encrypted where it is to be.
    pub(super) fn of_new_connection() -> Self {
        Self { opened_at: Instant::now(), in_flight: TaskTracker::default(), begun: Arc::default() }
    }

    /// A call has come.
    pub(super) fn begin(&self) {
        self.begun.notify_one();
    }

    /// A call is in flight until this is dropped.
    pub(super) fn token(&self) -> TaskTrackerToken {
        self.in_flight.token()
    }

    /// Ends when a call has come, or none in time since the connection was opened. It is asked once.
    pub(super) async fn first(&self) {
        // One that came before is remembered.
        let _ = timeout_at(self.opened_at + FIRST_CALL, self.begun.notified()).await;
    }

    /// Ends when no call has been in flight for a while. A peer that is asked to go and has none goes at once, or is gone.
    pub(super) async fn idle(&self) {
        let mut quiet = Duration::ZERO;
        while quiet < IDLE_LIMIT {
            // No event says that nothing happens: it is looked at.
            sleep(IDLE_CHECK).await;
            quiet = if self.in_flight.is_empty() { quiet + IDLE_CHECK } else { Duration::ZERO };
        }
    }
}

/// Ends when a drain has begun and no first call is waited for any more.
pub(super) async fn first_is_over(shutdown: &Shutdown) {
    shutdown.begun().await;
    // What is not there by then can't be told from what never comes.
    sleep(FIRST_CALL).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long the first call is waited for, of a connection that was opened so long ago.
    async fn waited(age: Duration, begin: impl Fn(&Calls)) -> Duration {
        let calls = Calls::of_new_connection();
        tokio::time::advance(age).await;
        begin(&calls);
        let asked = Instant::now();
        calls.first().await;
        asked.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn first_call_is_waited_for_as_long_as_the_connection_is_new() {
        assert_eq!(waited(FIRST_CALL / 4, |_| {}).await, FIRST_CALL * 3 / 4, "a new one");
        assert_eq!(waited(FIRST_CALL * 2, |_| {}).await, Duration::ZERO, "one that is idle");
    }

    #[tokio::test(start_paused = true)]
    async fn call_that_came_before_it_is_waited_for_is_remembered() {
        assert_eq!(waited(Duration::ZERO, Calls::begin).await, Duration::ZERO);
    }
}
