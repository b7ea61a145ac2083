//! Configuration of the cache: one tree of plain data, every key with its unit and default.

use std::path::PathBuf;
use std::time::Duration;

use accord_contract::limits::MAX_LEASE;
use accord_mesh::MeshConfig;
use accord_readthrough::Limits;
use accord_runtime::config::bound::{self, Count, DAY, HOUR, Time};
use accord_runtime::config::{Configuration, Invalid};
use accord_runtime::server::ListenConfig;
use accord_runtime::telemetry::TelemetryConfig;
use accord_store::StoreUrl;
use accord_upstream::config as upstream;
use accord_upstream::{DiscoveryConfig, UpstreamConfig};
use serde::{Deserialize, Serialize};

use crate::checker::CheckerConfig;
use crate::consistency_tokens::ConsistencyConfig;
use crate::namespaces::{self, NamespaceConfig};
use crate::outbox::{self, OutboxConfig};
use crate::second_level::SecondLevelConfig;

/// The cache's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The name of this replica in answers. Default: `cache`.
    #[serde(deserialize_with = "bound::text")]
    pub node: String,
    /// A directory that one cache process has to itself: it locks the file `accord-cache.lock` there for its life, and one that
    /// is started meanwhile waits for it. Caches of different names need different ones. Default: `.`, the working directory.
    #[serde(deserialize_with = "bound::file")]
    pub data_dir: PathBuf,
    /// How long calls in flight may take to end after a signal to stop, 1ms to 1h. Default: `10s`.
    #[serde(with = "Time::<1, HOUR>")]
    pub grace: Duration,
    /// Threads that serve callers, each with connections to upstreams of its own, 0 to 1024. Default: 0, which is one for each
    /// core, of which a container's CPU limit counts.
    #[serde(with = "Count::<0, 1024>")]
    pub workers: usize,
    /// Where the services listen. Default address: 127.0.0.1:8100.
    pub listen: ListenConfig,
    /// The admin port: metrics, health and reflection. Default address: 127.0.0.1:8101.
    pub admin: ListenConfig,
    /// Where auth is, and who the cache is.
    pub auth: MeshConfig,
    /// What the cache keeps in memory.
    pub engine: EngineConfig,
    /// For how long gateways may answer from memory of their own.
    pub leases: LeasesConfig,
    /// Where several replicas of this cache share their invalidations.
    pub log: LogConfig,
    /// Where they share what they have loaded.
    pub second_level: SecondLevelConfig,
    /// Whether what is answered from memory is compared with its upstream, now and then.
    pub checker: CheckerConfig,
    /// Databases whose changes by others invalidate what was loaded. Default: none.
    pub outbox: Vec<OutboxConfig>,
    /// Consistency tokens.
    pub consistency: ConsistencyConfig,
    /// Where endpoints are found.
    pub discovery: DiscoveryConfig,
    /// Where misses are loaded from. Default: nowhere.
    pub upstream: Vec<UpstreamConfig>,
    /// Key/value spaces of their own for services. Default: none.
    pub namespace: Vec<NamespaceConfig>,
    /// Where the records of idempotency keys are.
    pub records: RecordsConfig,
    /// Logs, metrics and traces.
    pub telemetry: TelemetryConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: "cache".to_owned(),
            data_dir: PathBuf::from("."),
            grace: Duration::from_secs(10),
            workers: 0,
            listen: ListenConfig::local(8100),
            admin: ListenConfig::local(8101),
            auth: MeshConfig::default(),
            engine: EngineConfig::default(),
            leases: LeasesConfig::default(),
            log: LogConfig::default(),
            second_level: SecondLevelConfig::default(),
            checker: CheckerConfig::default(),
            outbox: Vec::new(),
            consistency: ConsistencyConfig::default(),
            discovery: DiscoveryConfig::default(),
            upstream: Vec::new(),
            namespace: Vec::new(),
            records: RecordsConfig::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

/// The section `[engine]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// Bytes of all answers in memory; the least useful leave. 1048576 to 1099511627776. Default: 268435456 (256 MiB).
    #[serde(with = "Count::<1_048_576, 1_099_511_627_776>")]
    pub capacity_bytes: u64,
    /// Callers that wait for one load; more are refused with `RESOURCE_EXHAUSTED`. 1 to 100000000. Default: 16384.
    #[serde(with = "Count::<1, 100_000_000>")]
    pub max_waiters: usize,
    /// Loads at a time; a read that needs one more is refused with `RESOURCE_EXHAUSTED`. 1 to 100000000. Default: 4096.
    #[serde(with = "Count::<1, 100_000_000>")]
    pub max_flights: usize,
    /// Tags whose invalidation is remembered one by one. Beyond, answers older than the forgotten ones are loaded anew.
    /// 1 to 100000000. Default: 262144.
    #[serde(with = "Count::<1, 100_000_000>")]
    pub max_tags: usize,
    /// Senders of invalidations that are remembered. One that was forgotten makes all answers count as invalid.
    /// 1 to 1000000. Default: 1024.
    #[serde(with = "Count::<1, 1_000_000>")]
    pub max_senders: usize,
    /// Plans that are remembered: what the contract of a method says. One that was forgotten is sent again.
    /// 1 to 100000000. Default: 16384.
    #[serde(with = "Count::<1, 100_000_000>")]
    pub max_plans: u64,
    /// Cool-down of an origin that failed: stale-if-error answers without asking it for so long, 1ms to 1h. Default: `1s`.
    #[serde(with = "Time::<1, HOUR>")]
    pub failure_cooldown: Duration,
    /// How long each reader of an answer that can't be stored loads it alone, 1ms to 1h. Default: `10s`.
    #[serde(with = "Time::<1, HOUR>")]
    pub uncacheable_for: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            capacity_bytes: 256 * 1024 * 1024,
            max_waiters: 16_384,
            max_flights: 4_096,
            max_tags: 262_144,
            max_senders: 1_024,
            max_plans: 16_384,
            failure_cooldown: Duration::from_secs(1),
            uncacheable_for: Duration::from_secs(10),
        }
    }
}

/// The section `[leases]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeasesConfig {
    /// The longest lease on an answer whose contract declares `cache.near`; a contract may ask for less. A write waits for one at
    /// most. 0s to 400ms; with `0s` there are no leases. Whatever it is, a cache that starts keeps nothing and acknowledges no
    /// write for 400ms, since the one before it may have granted the longest. Default: `200ms`.
    #[serde(with = "Time::<0, 400>")]
    pub max: Duration,
}

impl Default for LeasesConfig {
    fn default() -> Self {
        Self { max: Duration::from_millis(200) }
    }
}

/// The section `[log]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `postgres://user:password@host/database`: the database in which all replicas behind one name share their invalidation log.
    /// It must never lose what it has committed. With it, `records.url` has to be a PostgreSQL too, and each `[[namespace]]` needs an
    /// origin. Default: none, for a cache that is one process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<StoreUrl>,
    /// For how long a replica answers from memory after it began to verify the log, which it does three times as often; a write
    /// waits for it at most where a replica falls silent. 500ms to 1m. Default: `1s`.
    #[serde(with = "Time::<500, MINUTE>")]
    pub lease: Duration,
}

/// A minute, in milliseconds.
const MINUTE: u64 = 60_000;

impl Default for LogConfig {
    fn default() -> Self {
        Self { url: None, lease: Duration::from_secs(1) }
    }
}

impl Config {
    /// As the engine takes them.
    pub fn limits(&self) -> Limits {
        let EngineConfig {
            capacity_bytes, max_waiters, max_flights, max_tags, failure_cooldown, uncacheable_for, ..
        } = self.engine;
        Limits {
            capacity: capacity_bytes,
            waiters: max_waiters,
            flights: max_flights,
            tags: max_tags,
            cool_down: failure_cooldown,
            uncacheable: uncacheable_for,
            max_lease: self.leases.max,
            first_lease_time: MAX_LEASE,
        }
    }
}

/// The section `[records]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordsConfig {
    /// `sqlite:///path/to/file`, made where there is none, or `postgres://user:password@host/database`.
    /// Default: `sqlite://accord-cache.db`.
    pub url: StoreUrl,
    /// Time between two sweeps of records whose window is over, 100ms to 24h. Default: `1m`.
    #[serde(with = "Time::<100, DAY>")]
    pub sweep_interval: Duration,
}

impl Default for RecordsConfig {
    fn default() -> Self {
        Self { url: StoreUrl::sqlite("accord-cache.db"), sweep_interval: Duration::from_mins(1) }
    }
}

impl Configuration for Config {
    const PREFIX: &'static str = "ACCORD_CACHE";

    fn contradictions(&self) -> Vec<Invalid> {
        let of_namespaces = namespaces::contradictions(&self.namespace, self.engine.capacity_bytes, &self.upstream);
        let discovery = self.discovery.contradictions();
        let of_upstreams = discovery.into_iter().chain(upstream::contradictions(&self.upstream));
        let of_outboxes = outbox::contradictions(&self.outbox, &self.namespace);
        let (has_log, has_secret) = (self.log.url.is_some(), self.consistency.token_key_file.is_some());
        let of_second_level = self.second_level.contradictions(has_log, has_secret);
        let of_log = self.of_log().into_iter().chain(of_outboxes).chain(of_second_level);
        self.auth.contradictions().into_iter().chain(of_upstreams).chain(of_namespaces).chain(of_log).collect()
    }
}

impl Config {
    /// What of the files that it names can't be used, or is missing.
    pub fn unusable(&self) -> Vec<Invalid> {
        let own = self.auth.unusable().into_iter().chain(upstream::unusable(&self.upstream));
        let of_tokens = self.consistency.unusable().map(|error| Invalid::of("consistency.token_key_file", error));
        own.chain(self.missing_data_dir()).chain(of_tokens).chain(self.second_level.unusable()).collect()
    }

    /// What each replica would have for itself alone.
    fn of_log(&self) -> Vec<Invalid> {
        let Some(url) = &self.log.url else { return Vec::new() };
        let one_file = "is a file, which replicas on several machines can't share";
        let (of_log, of_records) = (url.location().file().is_some(), self.records.url.location().file().is_some());
        let remedy = "name a PostgreSQL, or leave out `log.url` and run one process";
        let of_log = of_log.then(|| Invalid::new("log.url", one_file, remedy));
        let of_records = of_records.then(|| Invalid::new("records.url", one_file, remedy));
        let of_namespaces = namespaces::of_one_replica(&self.namespace);
        of_log.into_iter().chain(of_records).chain(of_namespaces).collect()
    }

    fn missing_data_dir(&self) -> Option<Invalid> {
        let problem = format!("{} is no directory", self.data_dir.display());
        let is_there = self.data_dir.is_dir();
        (!is_there).then(|| Invalid::new("data_dir", problem, "make it, or name another one"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace_origin::query::QueryConfig;
    use crate::namespace_origin::records::RecordsConfig as KeyRecordsConfig;
    use crate::namespaces::WriteMode;

    /// The keys that contradict a log at this address, with records at that one.
    fn contradicting(log: &str, records: &str, change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        config.log.url = Some(log.parse().unwrap());
        config.records.url = records.parse().unwrap();
        change(&mut config);
        let own = ["log.url", "records.url", "namespace.0.origin", "namespace.0.write"];
        let found = config.contradictions().into_iter().map(|invalid| invalid.key);
        found.filter(|key| own.contains(&&**key)).collect()
    }

    #[test]
    fn shared_log_and_records_want_a_server() {
        let server = "postgres://accord@db.example/accord";
        assert_eq!(contradicting(server, server, |_| {}), [""; 0]);
        assert_eq!(contradicting("sqlite://log.db", server, |_| {}), ["log.url"]);
        assert_eq!(contradicting(server, "sqlite://records.db", |_| {}), ["records.url"]);
    }

    #[test]
    fn shared_log_takes_namespaces_whose_values_have_an_origin() {
        let server = "postgres://accord@db.example/accord";
        let refused = |carts: NamespaceConfig| {
            let carts = NamespaceConfig { name: "carts".to_owned(), ..carts };
            contradicting(server, server, |config| config.namespace.push(carts))
        };
        let records = || NamespaceConfig { records: Some(KeyRecordsConfig::default()), ..NamespaceConfig::default() };
        let query = NamespaceConfig { query: Some(QueryConfig::default()), ..NamespaceConfig::default() };
        assert_eq!(refused(NamespaceConfig::default()), ["namespace.0.origin"]);
        assert_eq!(refused(records()), ["namespace.0.write"], "nobody could put a record");
        assert_eq!(refused(NamespaceConfig { write: WriteMode::Through, ..records() }), [""; 0]);
        assert_eq!(refused(query), [""; 0]);
    }
}
