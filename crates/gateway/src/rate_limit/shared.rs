//! Shared rate limits: one count for all gateways, in a Valkey or Redis.
//!
//! A script takes a call from all limits of its method in one round trip, by the clock of the server. Where the server is
//! down or slow, or has no room, each gateway counts for itself, and says so: limits that hold for each gateway are better
//! than calls that wait.

mod config;
mod connection;
mod link;
mod reply;

pub use self::config::SharedLimitsConfig;

use self::{
    connection::NoReply,
    link::Link,
    reply::{Reply, command},
};
use crate::table::{Counting, Quota, Rate, RateLimitKey};
use accord_runtime::{deadline::Deadline, shutdown::Shutdown, telemetry, tls::TlsError};
use opentelemetry::{KeyValue, metrics::Counter};
use std::{fmt::Write as _, sync::Arc, time::Duration};
use tokio::{sync::watch, time::timeout_at};

/// One limit for one caller.
pub(super) struct Counted<'a> {
    pub rate: &'a Rate,
    pub quota: &'a Quota,
    pub key: RateLimitKey,
}

/// What each limit says of a call: how many more there is room for, or how long to wait. Where one says to wait, it is the last.
type Outcomes = Vec<Result<u32, Duration>>;

/// Counts in the shared server.
pub(crate) struct SharedLimits {
    link: Arc<Link>,
    timeout: Duration,
    key_prefix: String,
    calls: Counter<u64>,
}

/// Why a call was not counted there, as the metric names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unanswered {
    Disconnected,
    Busy,
    Timeout,
    /// The call's own deadline came first, which says nothing of the server.
    Deadline,
    Refused,
}

impl Unanswered {
    fn name(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::Deadline => "deadline",
            Self::Refused => "refused",
        }
    }
}

impl SharedLimits {
    /// Connects in the background until shutdown; none where no server is configured.
    pub(crate) fn start(config: &SharedLimitsConfig, shutdown: &Shutdown) -> Result<Option<Self>, TlsError> {
        let Some(server) = config.server() else { return Ok(None) };
        let link = Arc::new(Link::new(config, server)?);
        crate::table::spawn(shutdown, Arc::clone(&link).keep());
        let calls = telemetry::meter()
            .u64_counter("accord.gateway.shared_limits.calls")
            .with_description("Calls of methods with rate limits, by whether the shared server counted them")
            .build();
        Ok(Some(Self { link, timeout: config.timeout, key_prefix: config.key_prefix.clone(), calls }))
    }

    /// Whether the server can be asked.
    pub(crate) fn is_up(&self) -> watch::Receiver<bool> {
        self.link.is_up()
    }

    /// Counts a call there, or only looks; none where that could not be done in time.
    pub(super) async fn count(
        &self,
        counting: Counting,
        method: &str,
        counted: &[Counted<'_>],
        deadline: Deadline,
    ) -> Option<Outcomes> {
        let answer = self.ask(counting, method, counted, deadline).await;
        let outcome = answer.as_ref().map_or_else(|unanswered| unanswered.name(), |_| "shared");
        self.calls.add(1, &[KeyValue::new("outcome", outcome)]);
        answer.ok()
    }

    async fn ask(
        &self,
        counting: Counting,
        method: &str,
        counted: &[Counted<'_>],
        deadline: Deadline,
    ) -> Result<Outcomes, Unanswered> {
        let live = self.link.live().ok_or(Unanswered::Disconnected)?;
        let wait_budget = Deadline::after(self.timeout);
        let asking = live.connection.ask(self.command(&live.script, counting, method, counted));
        let reply = match timeout_at(wait_budget.min(deadline).at(), asking).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(NoReply::Busy)) => return Err(Unanswered::Busy),
            Ok(Err(NoReply::Closed)) => return Err(Unanswered::Disconnected),
            Err(_) if deadline < wait_budget => return Err(Unanswered::Deadline),
            Err(_) => {
                live.failed();
                return Err(Unanswered::Timeout);
            }
        };
        if let Some(outcomes) = outcomes(&reply, counted.len()) {
            live.answered();
            Ok(outcomes)
        } else {
            live.failed();
            Err(Unanswered::Refused)
        }
    }

    fn command(&self, script: &str, counting: Counting, method: &str, counted: &[Counted<'_>]) -> Vec<u8> {
        let count = counted.len().to_string();
        let keys: Vec<_> = counted.iter().map(|it| self.key(method, it)).collect();
        let paces: Vec<_> = counted.iter().flat_map(|it| it.quota.microseconds()).collect();
        let parts = ["EVALSHA", script, &count].into_iter();
        let look = (counting == Counting::Look).then_some("look");
        let parts: Vec<_> = parts.chain(keys.iter().chain(&paces).map(String::as_str)).chain(look).collect();
        command(&parts)
    }

    /// All keys of a method are in one slot of a Cluster, as the braces ask. Figures that change begin anew, as they do in a
    /// gateway.
    fn key(&self, method: &str, Counted { rate, quota, key }: &Counted<'_>) -> String {
        let Quota { role, requests, per, burst, .. } = quota;
        let (prefix, by, per) = (&self.key_prefix, rate.name(), per.as_millis());
        let mut text = format!("{prefix}:{{{method}}}:{by}:{requests}/{per}ms/{burst}");
        if let Some(role) = role {
            let _ = write!(text, ":{role:?}");
        }
        let _ = match key {
            RateLimitKey::Principal(subject) => write!(text, ":principal:{subject}"),
            RateLimitKey::Tenant(Some(tenant)) => write!(text, ":tenant:{tenant}"),
            RateLimitKey::Tenant(None) => write!(text, ":anonymous"),
            RateLimitKey::Address(address) => write!(text, ":address:{address}"),
            RateLimitKey::Method => write!(text, ":all"),
        };
        text
    }
}

/// What the script answers.
fn outcomes(reply: &Reply, asked: usize) -> Option<Outcomes> {
    let Reply::Array(answers) = reply else { return None };
    let outcome = |answer: &Reply| match answer {
        Reply::Integer(left @ 0..) => Some(Ok(u32::try_from(*left).unwrap_or(u32::MAX))),
        Reply::Integer(wait) => Some(Err(Duration::from_micros(wait.unsigned_abs()))),
        _ => None,
    };
    let outcomes: Outcomes = answers.iter().map(outcome).collect::<Option<_>>()?;
    let is_whole = outcomes.len() == asked || outcomes.last().is_some_and(Result::is_err);
    is_whole.then_some(outcomes)
}

#[cfg(test)]
mod tests;
