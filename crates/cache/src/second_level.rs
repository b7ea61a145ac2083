//! The second level: a Valkey or Redis, which may be a Cluster, where replicas of a cache share what they have loaded.
//!
//! It holds values and never the truth: the engine judges each by the invalidation log. What can't be reached, answers late or can't
//! be read is as good as absent. Lookups wait for a short time, and never for more than half of what their reader has left; writes
//! wait behind all readers, in a bounded queue. A server that leaves three commands in a row unanswered is left alone until it answers
//! a new connection, and a caller's own deadline is no failure of the server's.

mod clock;
mod config;
mod format;
mod queue;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use accord_readthrough::{Key, Live, Moment, SecondLevel, SharedMiss, SharedValue, World, own_wait};
use accord_redis::{Client, Reply, Texts, Unanswered, command};
use accord_runtime::deadline::Deadline;
use accord_runtime::reload::{INTERVAL, Reloading};
use accord_runtime::telemetry;
use anyhow::Context;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use tokio::sync::watch;

pub use config::SecondLevelConfig;

use self::clock::ServerClock;
use self::format::{SEALED_WITH, Sizes, Timed, Unwritten, ValueKey};
use self::queue::{Waiting, WriteQueue};
use crate::consistency_tokens::{ConsistencyConfig, secret};
use crate::declared_metrics::{SECOND_LEVEL_UP, SECOND_LEVEL_WRITES};

/// Values that are written at a time.
const WRITERS: usize = 16;

/// From how many bytes on a value is encoded by a thread that serves nobody.
const LARGE: usize = 16 * 1024;

const TEXTS: Texts = Texts {
    connected: "loaded answers are shared in the second level",
    disconnected: "loaded answers are not shared: the second level can't be used",
    refuses: "keep values",
};

/// What a replica shares with the others. Clones share everything.
#[derive(Clone)]
pub(crate) struct SharedStore(Arc<Parts>);

struct Parts {
    client: Arc<Client>,
    key: Arc<Reloading<ValueKey>>,
    key_prefix: String,
    timeout: Duration,
    max_ttl: Duration,
    sizes: Sizes,
    clock: ServerClock,
    queue: WriteQueue,
    writes: Counter<u64>,
}

/// What became of a value that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Written,
    /// Too many bytes waited.
    QueueFull,
    TooLarge,
    /// Its life was over before its turn came.
    Expired,
    Late,
    Unavailable,
}

impl SharedStore {
    /// The second level that is configured, if one is.
    pub(crate) fn new(config: &SecondLevelConfig, consistency: &ConsistencyConfig) -> anyhow::Result<Option<Self>> {
        let Some(options) = config.options() else { return Ok(None) };
        let file = consistency.token_key_file.clone().context("the second level has no secret")?;
        let (files, make) = (vec![file.clone()], move || value_key(&file));
        let key = Reloading::new("second_level_key", files, INTERVAL, make)?;
        let meter = telemetry::meter();
        let up = SECOND_LEVEL_UP.gauge(&meter);
        let writes = SECOND_LEVEL_WRITES.counter(&meter);
        let client = Client::new(options, TEXTS, greeting(&config.key_prefix), up);
        let client = client.context("the second level can't be used as the section `second_level` says")?;
        let (max_value_bytes, compress_from_bytes) = (config.max_value_bytes, config.compress_from_bytes);
        Ok(Some(Self(Arc::new(Parts {
            client: Arc::new(client),
            key,
            key_prefix: config.key_prefix.clone(),
            timeout: config.timeout,
            max_ttl: config.max_ttl,
            sizes: Sizes { max_value_bytes, compress_from_bytes },
            clock: ServerClock::new(config.max_ttl),
            queue: WriteQueue::new(config.max_waiting_bytes),
            writes,
        }))))
    }

    /// Whether its servers can be asked.
    pub(crate) fn is_up(&self) -> watch::Receiver<bool> {
        self.0.client.is_up()
    }

    /// Keeps connections, and writes what waits, for as long as this is polled.
    pub(crate) fn keep(&self) -> impl Future<Output = ()> + use<> {
        let (client, parts) = (Arc::clone(&self.0.client), Arc::clone(&self.0));
        async move {
            tokio::join!(client.keep(), parts.write_all());
        }
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SharedStore").finish_non_exhaustive()
    }
}

impl SecondLevel for SharedStore {
    fn find(&self, key: Key, within: Duration) -> BoxFuture<'_, Result<SharedValue, SharedMiss>> {
        Box::pin(self.0.find(key, within))
    }

    fn put(&self, key: Key, value: SharedValue) {
        if !self.0.queue.push(Waiting { key, value, since: Live.now() }) {
            self.0.count(Outcome::QueueFull);
        }
    }
}

impl Parts {
    async fn find(&self, key: Key, within: Duration) -> Result<SharedValue, SharedMiss> {
        let (name, last) = (self.name(&key), (self.sizes.max_value_bytes + SEALED_WITH - 1).to_string());
        // By range, so that whatever somebody else has put there, no more of it comes than a value has.
        let commands = [command(&["GETRANGE", &name, "0", &last]), command(&["TIME"])];
        // The other half is the upstream's.
        let deadline = Some(within / 2).filter(|half| *half < self.timeout).map(Deadline::after);
        let replies = self.client.ask(name.as_bytes(), &commands, self.timeout, deadline).await;
        let replies = replies.map_err(|why| if is_late(&why) { SharedMiss::Late } else { SharedMiss::Unavailable })?;
        let [Reply::Text(sealed), time] = &replies[..] else { return Err(SharedMiss::Unreadable) };
        let told = server_time(time).ok_or(SharedMiss::Unreadable)?;
        let now = self.clock.read(told, Live.now());
        if sealed.is_empty() {
            return Err(SharedMiss::Absent);
        }
        let found = self.key.get().open(&key, sealed, self.sizes).ok_or(SharedMiss::Unreadable)?;
        self.aged(found, now)
    }

    /// A value with its age at a moment by the server's clock, as the own one may count it.
    fn aged(&self, Timed { value, started }: Timed, now: Duration) -> Result<SharedValue, SharedMiss> {
        // One from the future was written before the clock was set back: nobody knows how old it is.
        let age = own_wait(now.checked_sub(started).ok_or(SharedMiss::TooOld)?);
        if age > self.max_ttl { Err(SharedMiss::TooOld) } else { Ok(SharedValue { age, ..value }) }
    }

    /// Writes what waits, several at a time.
    async fn write_all(&self) -> Infallible {
        let waiting = stream::unfold((), |()| async { Some((self.queue.next().await, ())) });
        waiting.for_each_concurrent(WRITERS, |next| async { self.count(self.write(next).await) }).await;
        // It never ends.
        std::future::pending().await
    }

    async fn write(&self, waiting: Waiting) -> Outcome {
        match self.try_write(waiting).await {
            Ok(outcome) | Err(outcome) => outcome,
        }
    }

    async fn try_write(&self, waiting: Waiting) -> Result<Outcome, Outcome> {
        let key = waiting.key;
        let name = self.name(&key);
        let told = self.ask(&name, &command(&["TIME"])).await?;
        let now = Live.now();
        let told = server_time(&told).ok_or(Outcome::Unavailable)?;
        let (timed, life) = self.timed(waiting, told, now).ok_or(Outcome::Expired)?;
        let sealed = self.seal(key, timed).await?;
        let life = life.as_millis().to_string();
        let set = [b"SET", name.as_bytes(), &sealed, b"PX", life.as_bytes()];
        self.ask(&name, &command(&set)).await.map(|_| Outcome::Written)
    }

    /// A value with the start of its load by the server's clock, which told this before now; and how long it is to stay there.
    fn timed(&self, waiting: Waiting, told: Duration, now: Moment) -> Option<(Timed, Duration)> {
        let Waiting { value, since, .. } = waiting;
        let waited = now.since(since);
        let life = value.life.saturating_sub(waited).min(self.max_ttl);
        let started = told.saturating_sub(value.age + waited);
        (life >= Duration::from_millis(1)).then_some((Timed { value, started }, life))
    }

    async fn seal(&self, key: Key, timed: Timed) -> Result<Vec<u8>, Outcome> {
        let (value_key, sizes) = (self.key.get(), self.sizes);
        let is_large = timed.value.load.as_ref().is_ok_and(|message| message.len() >= LARGE);
        let seal = move || value_key.seal(&key, timed, sizes);
        let sealed = if is_large { tokio::task::spawn_blocking(seal).await.ok() } else { Some(seal()) };
        sealed.unwrap_or(Err(Unwritten::Failed)).map_err(|unwritten| match unwritten {
            Unwritten::TooLarge => Outcome::TooLarge,
            Unwritten::Failed => Outcome::Unavailable,
        })
    }

    async fn ask(&self, name: &str, command: &[u8]) -> Result<Reply, Outcome> {
        let asked = self.client.ask(name.as_bytes(), &[command.to_vec()], self.timeout, None).await;
        let replies = asked.map_err(|why| if is_late(&why) { Outcome::Late } else { Outcome::Unavailable })?;
        replies.into_iter().next().ok_or(Outcome::Unavailable)
    }

    /// Where a value is: under the digest of what it is an answer to, of which the contract's is a part.
    fn name(&self, key: &Key) -> String {
        let digest = key.digest().iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"));
        format!("{}:answer:{digest}", self.key_prefix)
    }

    fn count(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Written => "written",
            Outcome::QueueFull => "queue_full",
            Outcome::TooLarge => "too_large",
            Outcome::Expired => "expired",
            Outcome::Late => "late",
            Outcome::Unavailable => "unavailable",
        };
        self.writes.add(1, &[KeyValue::new("outcome", outcome)]);
    }
}

fn value_key(file: &Path) -> anyhow::Result<ValueKey> {
    ValueKey::of(secret(file)?.expose().as_bytes()).context("the key of the second level can't be made")
}

/// What each connection is tried with: all that is asked later.
fn greeting(key_prefix: &str) -> Vec<Vec<u8>> {
    let hello = format!("{key_prefix}:answer:hello");
    vec![command(&["SET", &hello, "", "PX", "1000"]), command(&["GETRANGE", &hello, "0", "0"]), command(&["TIME"])]
}

/// Whether a command had no answer in time, rather than none at all.
fn is_late(unanswered: &Unanswered) -> bool {
    matches!(unanswered, Unanswered::Timeout | Unanswered::Deadline)
}

/// What `TIME` answers: seconds since 1970, and the microseconds beside them.
fn server_time(reply: &Reply) -> Option<Duration> {
    let Reply::Array(parts) = reply else { return None };
    let [Reply::Text(seconds), Reply::Text(microseconds)] = &parts[..] else { return None };
    let number = |text: &Bytes| std::str::from_utf8(text).ok()?.parse().ok();
    Duration::from_secs(number(seconds)?).checked_add(Duration::from_micros(number(microseconds)?))
}

#[cfg(test)]
mod tests;
