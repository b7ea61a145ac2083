//! Asking an upstream's endpoints whether they live, so that a dead one is known before a call finds out.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::Upstream;
use super::endpoint::Endpoint;

/// Between two questions while all is well.
const CALM: Duration = Duration::from_secs(5);
/// Between two questions while no endpoint answers: the shortest wait, doubled up to [`CALM`].
const EAGER: Duration = Duration::from_millis(100);
/// How long an endpoint may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

impl Upstream {
    /// Asks all endpoints now, and says whether at least one of them lives.
    pub async fn probe(&self) -> bool {
        let alive = join_all(self.endpoints.iter().map(|endpoint| probe(endpoint))).await;
        self.metrics.probed(alive.iter().filter(|alive| **alive).count());
        let up = alive.contains(&true);
        self.up.send_if_modified(|known| std::mem::replace(known, up) != up);
        up
    }

    /// Asks all endpoints from time to time, sooner after a call found trouble, for as long as it is polled.
    pub async fn keep_probing(self: Arc<Self>) {
        let mut wait = EAGER;
        loop {
            let was_up = self.is_up();
            wait = match self.probe().await {
                true => CALM,
                false if was_up => EAGER,
                false => (wait * 2).min(CALM),
            };
            tokio::select! {
                () = tokio::time::sleep(wait.mul_f64(rand::random_range(0.8..1.2))) => {}
                // While it is up, a failed call is news. Many of them are one piece of news.
                () = self.trouble.notified(), if self.is_up() => self.after_trouble().await,
            }
        }
    }

    /// A restart can be quicker than two questions, so whoever watches is told even if it looks up throughout.
    async fn after_trouble(&self) {
        tokio::time::sleep(EAGER).await;
        self.up.send_modify(|_unchanged| {});
    }
}

/// Whether an endpoint lives. One that doesn't is set aside; one that does is let in again.
async fn probe(endpoint: &Endpoint) -> bool {
    let question = HealthCheckRequest { service: String::new() };
    let mut client = HealthClient::new(endpoint.channel());
    let alive = match tokio::time::timeout(PATIENCE, client.check(question)).await {
        Ok(Ok(answer)) => answer.into_inner().status() != ServingStatus::NotServing,
        // Any status that the server itself chose shows that it is there, even if it knows no health service.
        Ok(Err(status)) => !matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown),
        Err(_elapsed) => false,
    };
    if alive {
        endpoint.succeeded();
    } else {
        endpoint.eject();
    }
    alive
}
