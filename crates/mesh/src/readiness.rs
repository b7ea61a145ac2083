//! Whether this binary can verify tokens and prove who it is, as a watch.

use std::{mem, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{login::Login, snapshot::LatestSnapshot};

/// Readiness lapses after its last moment, not at it. This is also what the timer rounds to.
const RESOLUTION: Duration = Duration::from_millis(1);

/// The timer looks again after this long at the latest, so that a bound of centuries does not overflow the clock.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// What readiness depends on.
pub(crate) struct Readiness {
    pub latest: Arc<LatestSnapshot>,
    pub login: Arc<Login>,
    pub bound: Duration,
}

impl Readiness {
    /// Notifies `ready` of every change until nobody listens any more.
    ///
    /// Nothing is polled: while ready, only time or a new login can end that, and one timer waits for the moment; while
    /// not ready, only an answer or a login can.
    pub(crate) async fn notify(self, ready: watch::Sender<bool>) {
        let mut logins = self.login.logins();
        loop {
            // Both listen before the look, so that nothing that comes after it is missed.
            logins.mark_unchanged();
            let answered = self.latest.answered();
            let left = self.left();
            ready.send_if_modified(|known| mem::replace(known, left.is_some()) != left.is_some());
            let lapses = Instant::now() + left.unwrap_or_default().min(LONGEST_WAIT) + RESOLUTION;
            tokio::select! {
                () = sleep_until(lapses), if left.is_some() => {}
                () = answered, if left.is_none() => {}
                _ = logins.changed() => {}
                () = ready.closed() => return,
            }
        }
    }

    /// How much longer it is ready if nothing happens; None where it is not.
    fn left(&self) -> Option<Duration> {
        Some(self.latest.fresh_for(self.bound)?.min(self.login.lasts_for()?))
    }
}

#[cfg(test)]
mod tests;
