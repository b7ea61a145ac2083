//! Warns of an endpoint that can't be connected to.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::connect_error::{ConnectCause, ConnectError};

/// How long nothing is said again of the same cause: an endpoint that is away for a night must not fill a disk.
const AGAIN: Duration = Duration::from_mins(10);

/// What was said of one endpoint.
#[derive(Debug)]
pub(crate) struct ConnectWarnings {
    upstream: Box<str>,
    endpoint: Box<str>,
    /// Of which cause, and when: one for each cause at most.
    last: Mutex<Vec<(ConnectCause, Instant)>>,
}

impl ConnectWarnings {
    pub(crate) fn new(upstream: &str, endpoint: &str) -> Self {
        Self { upstream: upstream.into(), endpoint: endpoint.into(), last: Mutex::default() }
    }

    /// A connection could not be made.
    pub(crate) fn failed(&self, failure: &ConnectError) {
        let (upstream, endpoint, remedy) = (&*self.upstream, &*self.endpoint, failure.cause.remedy());
        if self.is_due(failure.cause) {
            tracing::warn!(upstream, endpoint, cause = %failure, remedy, "no connection to the endpoint can be made");
        } else {
            tracing::debug!(upstream, endpoint, cause = %failure, "still no connection to the endpoint");
        }
    }

    fn is_due(&self, cause: ConnectCause) -> bool {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |said: Instant| now.saturating_duration_since(said) < AGAIN;
        if last.iter().any(|(of, said)| *of == cause && is_fresh(*said)) {
            return false;
        }
        last.retain(|(of, _)| *of != cause);
        last.push((cause, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use accord_test_log::Log;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn cause_is_warned_of_once_in_a_while_with_endpoint_and_remedy() {
        let (log, warnings) = (Log::default(), ConnectWarnings::new("shop", "http://10.0.0.7:9000"));
        let _guard = log.start();
        let refused = ConnectError::of_tcp(io::ErrorKind::ConnectionRefused.into());
        for _ in 0..100 {
            warnings.failed(&refused);
        }
        assert_eq!((log.count("WARN"), log.count("10.0.0.7:9000"), log.count("correct the port")), (1, 1, 1));
        warnings.failed(&ConnectError::timed_out());
        assert_eq!(log.count("WARN"), 2, "another cause is news");
        tokio::time::advance(AGAIN).await;
        warnings.failed(&refused);
        assert_eq!(log.count("WARN"), 3);
    }
}
