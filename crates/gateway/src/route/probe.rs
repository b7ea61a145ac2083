//! Asking an upstream's endpoints whether they live, so that a dead one is known before a call finds out.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::Upstream;
use super::endpoint::Endpoint;

/// Between two questions while all is well.
const CALM: Duration = Duration::from_secs(5);
/// Between two questions while no endpoint serves: the shortest wait, doubled up to [`TIRED`].
const EAGER: Duration = Duration::from_millis(100);
/// The longest wait between two questions while no endpoint serves.
const TIRED: Duration = Duration::from_secs(1);
/// How long an endpoint may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What an endpoint, or the best endpoint of an upstream, was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Liveness {
    /// It does not answer.
    Away,
    /// It answers, but says that it is not ready to serve. It can be asked for its descriptors.
    Waiting,
    /// It serves.
    Serving,
}

impl Upstream {
    /// Asks all endpoints now, and says what the best of them is.
    pub async fn probe(&self) -> Liveness {
        let found = join_all(self.endpoints.iter().map(|endpoint| probe(endpoint))).await;
        self.metrics.probed(found.iter().filter(|liveness| **liveness == Liveness::Serving).count());
        let best = found.into_iter().max().unwrap_or(Liveness::Away);
        self.liveness.send_if_modified(|known| std::mem::replace(known, best) != best);
        best
    }

    /// Asks all endpoints from time to time, sooner after a call found trouble, for as long as it is polled.
    pub async fn keep_probing(self: Arc<Self>) {
        let mut wait = EAGER;
        loop {
            let before = self.liveness();
            wait = match self.probe().await {
                Liveness::Serving => CALM,
                found if found != before => EAGER,
                _ => (wait * 2).min(TIRED),
            };
            tokio::select! {
                () = tokio::time::sleep(wait.mul_f64(rand::random_range(0.8..1.2))) => {}
                // While it serves, a failed call is news. Many of them are one piece of news.
                () = self.trouble.notified(), if self.is_up() => self.after_trouble().await,
            }
        }
    }

    /// A restart can be quicker than two questions, so whoever watches is told even if it looks up throughout.
    async fn after_trouble(&self) {
        tokio::time::sleep(EAGER).await;
        self.liveness.send_modify(|_unchanged| {});
    }
}

/// What an endpoint is. One that doesn't serve is set aside; one that does is let in again.
async fn probe(endpoint: &Endpoint) -> Liveness {
    let question = HealthCheckRequest { service: String::new() };
    let mut client = HealthClient::new(endpoint.channel());
    let answer = tokio::time::timeout(PATIENCE, client.check(question)).await;
    let found = match answer.unwrap_or_else(|_elapsed| Err(Status::unavailable("too slow"))) {
        Ok(answer) if answer.get_ref().status() == ServingStatus::NotServing => Liveness::Waiting,
        Err(status) if matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown) => Liveness::Away,
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
