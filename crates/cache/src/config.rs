//! What the cache can be told: one tree of plain data, every key with its unit and default.

use std::time::Duration;

use accord_mesh::MeshConfig;
use accord_readthrough::Limits;
use accord_runtime::{config::Secret, server::ListenConfig, telemetry::TelemetryConfig};
use accord_store::Location;
use accord_upstream::UpstreamConfig;
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// The prefix of environment variables, as in `ACCORD_CACHE__LISTEN__ADDRESS`.
pub const PREFIX: &str = "ACCORD_CACHE";

/// The cache's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The name of this replica in answers. Default: `cache`.
    pub node: String,
    /// How long calls in flight may take to end after a signal to stop. Default: `10s`.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// Where the services listen. Default address: 127.0.0.1:8100.
    pub listen: ListenConfig,
    /// The internal port: metrics, health and reflection. Default address: 127.0.0.1:8101.
    pub admin: ListenConfig,
    /// Where auth is, and who the cache is.
    pub auth: MeshConfig,
    /// What the cache keeps in memory.
    pub engine: EngineConfig,
    /// Where misses are loaded from. Default: nowhere.
    pub upstream: Vec<UpstreamConfig>,
    /// Where the records of idempotency keys are.
    pub records: RecordsConfig,
    /// Logs, metrics and traces.
    pub telemetry: TelemetryConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: "cache".to_owned(),
            grace: Duration::from_secs(10),
            listen: listen_on(8100),
            admin: listen_on(8101),
            auth: MeshConfig::default(),
            engine: EngineConfig::default(),
            upstream: Vec::new(),
            records: RecordsConfig::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

fn listen_on(port: u16) -> ListenConfig {
    ListenConfig { address: ([127, 0, 0, 1], port).into(), ..ListenConfig::default() }
}

/// The section `[engine]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// Bytes of all answers in memory; the least useful leave. Default: 268435456 (256 MiB).
    pub capacity_bytes: u64,
    /// Callers that wait for one load; more are refused with `RESOURCE_EXHAUSTED`. Default: 16384.
    pub max_waiters: usize,
    /// Loads at a time; a read that needs one more is refused with `RESOURCE_EXHAUSTED`. Default: 4096.
    pub max_flights: usize,
    /// Tags whose invalidation is remembered one by one. Beyond, answers older than the forgotten ones are loaded anew.
    /// Default: 262144.
    pub max_tags: usize,
    /// Senders of invalidations that are remembered. One that was forgotten makes all answers count as invalid.
    /// Default: 1024.
    pub max_senders: usize,
    /// Plans that are remembered: what the contract of a method says. One that was forgotten is sent again. Default: 16384.
    pub max_plans: u64,
    /// Cool-down of an origin that failed: stale-if-error answers without asking it for so long. Default: `1s`.
    #[serde(with = "humantime_serde")]
    pub failure_cooldown: Duration,
    /// How long each reader of an answer that can't be stored loads it alone. Default: `10s`.
    #[serde(with = "humantime_serde")]
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

impl EngineConfig {
    /// As the engine takes them.
    pub fn limits(&self) -> Limits {
        Limits {
            capacity: self.capacity_bytes,
            waiters: self.max_waiters,
            flights: self.max_flights,
            tags: self.max_tags,
            cool_down: self.failure_cooldown,
            uncacheable: self.uncacheable_for,
        }
    }
}

/// The section `[records]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordsConfig {
    /// `sqlite:///path/to/file`, made where there is none, or `postgres://user:password@host/database`.
    /// Default: `sqlite://accord-cache.db`.
    pub url: Secret,
    /// Time between two sweeps of records whose window is over. Default: `1m`.
    #[serde(with = "humantime_serde")]
    pub sweep_interval: Duration,
}

impl Default for RecordsConfig {
    fn default() -> Self {
        Self { url: Secret::from("sqlite://accord-cache.db".to_owned()), sweep_interval: Duration::from_mins(1) }
    }
}

impl Config {
    /// Refuses what can't be meant.
    pub fn check(&self) -> Result<()> {
        ensure!(self.engine.capacity_bytes > 0, "engine.capacity_bytes is 0: give the cache some memory");
        ensure!(self.engine.max_waiters > 0, "engine.max_waiters is 0: the first reader of an answer waits too");
        ensure!(self.engine.max_flights > 0, "engine.max_flights is 0: nothing could ever be loaded");
        ensure!(self.engine.max_plans > 0, "engine.max_plans is 0: the cache would ask for each plan again and again");
        ensure!(!self.records.sweep_interval.is_zero(), "records.sweep_interval is 0: write a time such as 1m");
        accord_upstream::config::check(&self.upstream)?;
        self.auth.check()?;
        ensure!(
            Location::parse(self.records.url.expose()).is_ok(),
            "records.url must be sqlite:// with the path of a file, or begin with postgres://"
        );
        Ok(())
    }
}
