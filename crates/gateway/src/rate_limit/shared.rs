//! Shared rate limits: one count for all gateways, in a Valkey or Redis, which may be a Cluster.
//!
//! A script takes a call from all limits of its method in one round trip, by the clock of the server. Where the server is
//! down or slow, or has no room, each gateway counts for itself, and says so: limits that hold for each gateway are better
//! than calls that wait.

mod config;

pub use self::config::SharedLimitsConfig;

use crate::declared_metrics::{SHARED_LIMITS_CALLS, SHARED_LIMITS_UP};
use crate::table::{Counting, Quota, Rate, RateLimitKey};
use accord_redis::{Client, Reply, Texts, Unanswered, command};
use accord_runtime::{deadline::Deadline, shutdown::Shutdown, telemetry, tls::TlsError};
use aws_lc_rs::digest;
use opentelemetry::{KeyValue, metrics::Counter};
use std::{fmt::Write as _, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Counts calls, as the server runs it.
const SCRIPT: &str = include_str!("shared/take.lua");

const TEXTS: Texts = Texts {
    connected: "rate limits are shared",
    disconnected: "rate limits are counted by this gateway alone, without the shared server",
    refuses: "count",
};

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
    client: Arc<Client>,
    /// The digest by which a server knows the script.
    script: String,
    timeout: Duration,
    key_prefix: String,
    calls: Counter<u64>,
}

/// Why a call was not counted there, as the metric names it.
fn name(unanswered: &Unanswered) -> &'static str {
    match unanswered {
        Unanswered::Disconnected => "disconnected",
        Unanswered::Busy => "busy",
        Unanswered::Timeout => "timeout",
        Unanswered::Deadline => "deadline",
        Unanswered::Refused(_) => "refused",
    }
}

impl SharedLimits {
    /// Connects in the background until shutdown; none where no server is configured.
    pub(crate) fn start(config: &SharedLimitsConfig, shutdown: &Shutdown) -> Result<Option<Self>, TlsError> {
        let Some(options) = config.options() else { return Ok(None) };
        let script = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, SCRIPT.as_bytes());
        let script = script.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let hello = format!("{}:{{}}:hello", config.key_prefix);
        let trial = command(&["EVALSHA", &script, "1", &hello, "1000", "1000000"]);
        let greeting = vec![command(&["SCRIPT", "LOAD", SCRIPT]), trial];
        let up = SHARED_LIMITS_UP.gauge(&telemetry::meter());
        let client = Arc::new(Client::new(options, TEXTS, greeting, up)?);
        let keeping = Arc::clone(&client);
        crate::table::spawn(shutdown, async move {
            keeping.keep().await;
        });
        let calls = SHARED_LIMITS_CALLS.counter(&telemetry::meter());
        Ok(Some(Self { client, script, timeout: config.timeout, key_prefix: config.key_prefix.clone(), calls }))
    }

    /// Whether the server can be asked.
    pub(crate) fn is_up(&self) -> watch::Receiver<bool> {
        self.client.is_up()
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
        let outcome = answer.as_ref().map_or_else(name, |_| "shared");
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
        let keys: Vec<_> = counted.iter().map(|it| self.key(method, it)).collect();
        let Some(key) = keys.first() else { return Ok(Vec::new()) };
        let command = self.command(counting, &keys, counted);
        let replies = self.client.ask(key.as_bytes(), &[command], self.timeout, Some(deadline)).await?;
        let outcomes = replies.first().and_then(|reply| outcomes(reply, counted.len()));
        outcomes.ok_or_else(|| Unanswered::Refused("it answers something else than the script does".to_owned()))
    }

    fn command(&self, counting: Counting, keys: &[String], counted: &[Counted<'_>]) -> Vec<u8> {
        let count = keys.len().to_string();
        let paces: Vec<_> = counted.iter().flat_map(|it| it.quota.microseconds()).collect();
        let parts = ["EVALSHA", &self.script, &count].into_iter();
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
