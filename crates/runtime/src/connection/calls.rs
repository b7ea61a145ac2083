//! The calls of one connection, for its end: when its first one has come, and when none is in flight any more.
//!
//! Who has just connected when a drain begins was told by the kernel that it is served, and no client sends again what breaks on a
//! new connection. So its first call is waited for before it is asked to go; one that has had time for it is an idle connection.

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
    since: Instant,
    in_flight: TaskTracker,
    begun: Arc<Notify>,
}

impl Calls {
    /// Of a connection that begins to be served.
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), in_flight: TaskTracker::default(), begun: Arc::default() }
    }

    /// A call has come.
    pub(super) fn begin(&self) {
        self.begun.notify_one();
    }

    /// A call is in flight until this is dropped.
    pub(super) fn token(&self) -> TaskTrackerToken {
        self.in_flight.token()
    }

    /// Ends when a call has come, or none in time since the connection began. It is asked once.
    pub(super) async fn first(&self) {
        // One that came before is remembered.
        let _ = timeout_at(self.since + FIRST_CALL, self.begun.notified()).await;
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

    #[tokio::test(start_paused = true)]
    async fn first_call_is_waited_for_as_long_as_the_connection_is_new() {
        let calls = Calls::new();
        tokio::time::advance(FIRST_CALL / 4).await;
        let asked = Instant::now();
        calls.first().await;
        assert_eq!(asked.elapsed(), FIRST_CALL * 3 / 4, "a new one");
        let asked = Instant::now();
        calls.first().await;
        assert_eq!(asked.elapsed(), Duration::ZERO, "one that is idle");
    }

    #[tokio::test(start_paused = true)]
    async fn call_that_came_before_it_is_waited_for_is_remembered() {
        let calls = Calls::new();
        calls.begin();
        let asked = Instant::now();
        calls.first().await;
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }
}
