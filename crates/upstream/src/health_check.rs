//! Active health checks (`grpc.health.v1`): an endpoint that doesn't serve is ejected before a call finds out.

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
use crate::health_status::HealthStatus;
use crate::metrics::EjectionCause;

/// Between two health checks while an endpoint serves.
const INTERVAL: Duration = Duration::from_secs(5);
/// Between two health checks while no endpoint serves: doubled from the first to the last.
const FIRST_BACKOFF: Duration = Duration::from_millis(120);
const LONGEST_BACKOFF: Duration = Duration::from_millis(1200);
/// Waits are shortened at random by up to this share.
const JITTER: f64 = 1.0 / 3.0;
/// How long an endpoint may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

impl Upstream {
    /// Whether at least one endpoint served when it was last asked.
    pub(crate) fn is_up(&self) -> bool {
        self.health_status() == HealthStatus::Serving
    }

    /// What the best of its endpoints was when it was last asked.
    pub fn health_status(&self) -> HealthStatus {
        *self.health_status.borrow()
    }

    /// [`Upstream::health_status`], as it changes. Also tells when it may have been unreachable for a moment.
    pub fn watch(&self) -> watch::Receiver<HealthStatus> {
        self.health_status.subscribe()
    }

    /// Asks all endpoints now, and says what the best of them is.
    pub async fn check_health(self: &Arc<Self>) -> HealthStatus {
        // Until discovery has said something, there is nobody to ask.
        let _ = self.wait_for_endpoints().await;
        let endpoints = self.endpoints();
        let found = join_all(endpoints.iter().map(|endpoint| check_endpoint(self, endpoint))).await;
        self.health_checked(found.iter().filter(|health_status| **health_status == HealthStatus::Serving).count());
        let best = found.into_iter().max().unwrap_or(HealthStatus::Unreachable);
        self.health_status.send_if_modified(|known| std::mem::replace(known, best) != best);
        best
    }

    /// Asks all endpoints from time to time, sooner after a call found trouble, for as long as it is polled.
    pub async fn keep_checking_health(self: Arc<Self>) {
        let mut backoff = Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF, JITTER);
        loop {
            let before = self.health_status();
            let found = self.check_health().await;
            if found != before || found == HealthStatus::Serving {
                backoff.reset();
            }
            let wait = if found == HealthStatus::Serving { jittered(INTERVAL, JITTER) } else { backoff.next_wait() };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // While it serves, a failed call is news. Many of them are one piece of news.
                () = self.trouble.notified(), if self.is_up() => self.until_unavailable().await,
            }
        }
    }

    /// A restart can be quicker than two health checks, so whoever watches is told even if it looks up throughout.
    async fn until_unavailable(&self) {
        tokio::time::sleep(FIRST_BACKOFF).await;
        self.health_status.send_modify(|_unchanged| {});
    }
}

/// Checks one endpoint's health. One that doesn't serve is ejected; one that does is readmitted.
async fn check_endpoint(upstream: &Arc<Upstream>, endpoint: &Arc<Endpoint>) -> HealthStatus {
    let question = HealthCheckRequest { service: String::new() };
    let question = request::outbound(question, Deadline::after(TIMEOUT), &RequestId::new());
    let mut client = HealthClient::new(Client::only(Arc::clone(upstream), Arc::clone(endpoint)));
    let found = match client.check(question).await {
        Ok(answer) if answer.get_ref().status() == ServingStatus::NotServing => HealthStatus::NotServing,
        Err(status) if is_unreachable(status.code()) => HealthStatus::Unreachable,
        // Any other status is one that the server itself chose: it is there, even if it knows no health service.
        Ok(_) | Err(_) => HealthStatus::Serving,
    };
    if found == HealthStatus::Serving {
        endpoint.succeeded();
    } else {
        endpoint.eject(EjectionCause::HealthCheck);
    }
    found
}

fn is_unreachable(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Cancelled | Code::Unknown | Code::DeadlineExceeded)
}
