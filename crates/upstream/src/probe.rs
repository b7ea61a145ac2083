//! Active health checks: asks an upstream's endpoints whether they live, so that a dead one is known before a call finds out.

use std::sync::Arc;
use std::time::Duration;

use accord_runtime::backoff::{Backoff, jittered};
use accord_runtime::deadline::Deadline;
use accord_runtime::request::{self, RequestId};
use futures_util::future::join_all;
use tokio::sync::watch;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::balance::Upstream;
use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::liveness::Liveness;

/// Between two questions while all is well.
const CALM: Duration = Duration::from_secs(5);
/// Between two questions while no endpoint serves: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(120);
const LAST_WAIT: Duration = Duration::from_millis(1200);
/// Waits are shortened at random by up to this share.
const JITTER: f64 = 1.0 / 3.0;
/// How long an endpoint may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

impl Upstream {
    /// Whether at least one endpoint served when it was last asked.
    pub(crate) fn is_up(&self) -> bool {
        self.liveness() == Liveness::Serving
    }

    /// What the best of its endpoints was when it was last asked.
    pub fn liveness(&self) -> Liveness {
        *self.liveness.borrow()
    }

    /// [`Upstream::liveness`], as it changes. Also tells when it may have been away for a moment.
    pub fn watch(&self) -> watch::Receiver<Liveness> {
        self.liveness.subscribe()
    }

    /// Asks all endpoints now, and says what the best of them is.
    pub async fn probe(self: &Arc<Self>) -> Liveness {
        // Until discovery has said something, there is nobody to ask.
        let _ = self.wait_for_endpoints().await;
        let endpoints = self.endpoints();
        let found = join_all(endpoints.iter().map(|endpoint| check_health(self, endpoint))).await;
        self.probed(found.iter().filter(|liveness| **liveness == Liveness::Serving).count());
        let best = found.into_iter().max().unwrap_or(Liveness::Away);
        self.liveness.send_if_modified(|known| std::mem::replace(known, best) != best);
        best
    }

    /// Asks all endpoints from time to time, sooner after a call found trouble, for as long as it is polled.
    pub async fn keep_probing(self: Arc<Self>) {
        let mut waits = Backoff::new(FIRST_WAIT, LAST_WAIT, JITTER);
        loop {
            let before = self.liveness();
            let found = self.probe().await;
            if found != before || found == Liveness::Serving {
                waits.reset();
            }
            let wait = if found == Liveness::Serving { jittered(CALM, JITTER) } else { waits.next_wait() };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // While it serves, a failed call is news. Many of them are one piece of news.
                () = self.trouble.notified(), if self.is_up() => self.until_unavailable().await,
            }
        }
    }

    /// A restart can be quicker than two questions, so whoever watches is told even if it looks up throughout.
    async fn until_unavailable(&self) {
        tokio::time::sleep(FIRST_WAIT).await;
        self.liveness.send_modify(|_unchanged| {});
    }
}

/// What an endpoint is. One that doesn't serve is ejected; one that does is let in again.
async fn check_health(upstream: &Arc<Upstream>, endpoint: &Arc<Endpoint>) -> Liveness {
    let question = HealthCheckRequest { service: String::new() };
    let question = request::outbound(question, Deadline::after(TIMEOUT), &RequestId::new());
    let mut client = HealthClient::new(Client::only(Arc::clone(upstream), Arc::clone(endpoint)));
    let found = match client.check(question).await {
        Ok(answer) if answer.get_ref().status() == ServingStatus::NotServing => Liveness::Waiting,
        Err(status) if is_away(status.code()) => Liveness::Away,
        // Any other status is one that the server itself chose: it is there, even if it knows no health service.
        Ok(_) | Err(_) => Liveness::Serving,
    };
    if found == Liveness::Serving {
        endpoint.succeeded();
    } else {
        endpoint.eject();
    }
    found
}

fn is_away(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Cancelled | Code::Unknown | Code::DeadlineExceeded)
}
