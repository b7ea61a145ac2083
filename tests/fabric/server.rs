//! A process of the fabric that speaks gRPC on one port and answers questions about itself on another.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, bail};
use http::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{declared_metrics, http::HttpCall, metrics, process::Process};

/// How often the fabric asks for what it waits for.
const ASK: Duration = Duration::from_millis(25);
/// How long it waits. Generous: a loaded machine is slow, and a failure is told early where the process has ended.
const BOUND: Duration = Duration::from_mins(1);

/// A server of the fabric.
pub struct Server {
    /// The process.
    pub process: Process,
    /// Where it serves.
    pub listen: SocketAddr,
    /// Where it answers for metrics and health.
    pub admin: SocketAddr,
    /// Whether it serves over TLS; then it is asked for its health at the other port.
    pub(crate) is_encrypted: bool,
    /// What grpc.health.v1 has to call SERVING before it counts as serving; the empty name is the whole process.
    pub(crate) services: Vec<String>,
}

impl Server {
    /// Where it serves, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// A connection made at the first call, and made anew when it breaks.
    pub fn channel(&self) -> Result<Channel> {
        Ok(Endpoint::from_shared(self.url())?.tcp_nodelay(true).connect_lazy())
    }

    /// Waits until grpc.health.v1 says SERVING: for the process, and at the gateway also for what it fronts.
    pub async fn wait_serving(&mut self) -> Result<()> {
        let waited = self.wait("does not serve", async |server: &Self| server.serving().await.then_some(())).await;
        let Err(problem) = waited else { return Ok(()) };
        let readiness = HttpCall::new(self.admin, Method::GET, "/readyz").send().await;
        Err(problem.context(readiness.map_or_else(|error| error.to_string(), |answer| answer.text())))
    }

    /// Waits until the sum of a metric's samples is as wanted, and returns it.
    pub async fn await_metric(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        wanted: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        let what = format!("does not count {name} {labels:?} as wanted");
        self.wait(&what, async |server: &Self| {
            let value = metrics::sum(&server.scrape().await.ok()?, name, labels);
            wanted(value).then_some(value)
        })
        .await
    }

    /// Waits until its access log has so many lines of a request, and returns them.
    pub async fn await_access_log(&mut self, request_id: &str, lines: usize) -> Result<Vec<Value>> {
        let what = format!("does not log {lines} calls of the request {request_id}");
        self.wait(&what, async |server: &Self| {
            let log = server.process.log();
            let calls = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let calls: Vec<_> = calls.filter(|call| call["request_id"] == request_id).collect();
            (calls.len() >= lines).then_some(calls)
        })
        .await
    }

    /// The sum of a metric's samples now.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        Ok(metrics::sum(&self.scrape().await?, name, labels))
    }

    /// All metrics, as Prometheus text. An error where one of them is not declared.
    pub async fn metrics(&self) -> Result<String> {
        let text = self.scrape().await?;
        declared_metrics::hold(self.process.program(), &text)?;
        Ok(text)
    }

    /// The same without a look at what is declared, which would hold up those who wait for a figure.
    async fn scrape(&self) -> Result<String> {
        let answer = HttpCall::new(self.admin, Method::GET, "/metrics").send().await?;
        if !answer.status.is_success() {
            bail!("{} answers /metrics with {}", self.process.name(), answer.status);
        }
        Ok(answer.text())
    }

    async fn serving(&self) -> bool {
        let address = if self.is_encrypted { self.admin } else { self.listen };
        let Ok(endpoint) = Endpoint::from_shared(format!("http://{address}")) else { return false };
        let channel = endpoint.tcp_nodelay(true).connect_lazy();
        let mut health = HealthClient::new(channel);
        for service in &self.services {
            let question = health.check(HealthCheckRequest { service: service.clone() });
            let answer = timeout(Duration::from_secs(2), question).await;
            if !matches!(answer, Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving) {
                return false;
            }
        }
        true
    }

    async fn wait<T>(&mut self, what: &str, look: impl AsyncFn(&Self) -> Option<T>) -> Result<T> {
        let end = Instant::now() + BOUND;
        loop {
            if let Some(found) = look(self).await {
                return Ok(found);
            }
            self.process.check()?;
            if Instant::now() >= end {
                return Err(self.process.trouble(format!("{what} after {BOUND:?}")).into());
            }
            sleep(ASK).await;
        }
    }
}
