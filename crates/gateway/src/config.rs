//! What the gateway can be told: one tree of plain data, every key with its unit and default.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use accord_mesh::MeshConfig;
use accord_runtime::config::{self, ConfigError, Overrides};
use accord_runtime::server::ListenConfig;
use accord_runtime::telemetry::TelemetryConfig;
pub use accord_upstream::UpstreamConfig;
use serde::{Deserialize, Serialize};

/// The prefix of environment variables, as in `ACCORD_GATEWAY__LISTEN__ADDRESS`.
pub const PREFIX: &str = "ACCORD_GATEWAY";

/// The gateway's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The public door. Default address: 127.0.0.1:8080.
    pub listen: ListenConfig,
    /// The internal port: metrics, health, explain. Default address: 127.0.0.1:8081.
    pub admin: ListenConfig,
    /// What the public door tells about itself.
    pub inspection: InspectionConfig,
    /// Where credentials are verified and access is decided.
    pub auth: MeshConfig,
    /// Where declared reads are answered from.
    pub cache: CacheConfig,
    /// The services behind the door.
    pub upstream: Vec<UpstreamConfig>,
    /// What the contract is made of, besides what each upstream says of itself.
    pub contract: ContractConfig,
    /// How much is let in.
    pub limits: LimitsConfig,
    /// Logs, metrics and traces.
    pub telemetry: TelemetryConfig,
    /// How long calls in flight may take to end after a signal to stop. Default: 30 s.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: listen_on(8080),
            admin: listen_on(8081),
            inspection: InspectionConfig::default(),
            auth: MeshConfig::default(),
            cache: CacheConfig::default(),
            upstream: Vec::new(),
            contract: ContractConfig::default(),
            limits: LimitsConfig::default(),
            telemetry: TelemetryConfig::default(),
            grace: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// What files, environment and flags say together, the later the stronger.
    pub fn load(files: &[PathBuf], flags: impl Fn() -> Overrides) -> Result<Self, ConfigError> {
        let mut config: Self = config::load(PREFIX, files, flags())?;
        let said: Said = config::load(PREFIX, files, flags())?;
        // A section that says something else but no address still means the gateway's own.
        config.listen.address = said.listen.address.unwrap_or(Self::default().listen.address);
        config.admin.address = said.admin.address.unwrap_or(Self::default().admin.address);
        Ok(config)
    }
}

/// Which addresses were given at all.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Said {
    listen: SaidAddress,
    admin: SaidAddress,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct SaidAddress {
    address: Option<SocketAddr>,
}

fn listen_on(port: u16) -> ListenConfig {
    ListenConfig { address: ([127, 0, 0, 1], port).into(), ..ListenConfig::default() }
}

/// What the public door tells about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InspectionConfig {
    /// Whether server reflection, with the descriptors of all upstreams, is answered. Default: true.
    pub reflection: bool,
}

impl Default for InspectionConfig {
    fn default() -> Self {
        Self { reflection: true }
    }
}

/// Where declared reads are answered from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// URL of the cache. Default: none, so that every read goes to its upstream.
    pub url: Option<String>,
    /// How long a connection to the cache may take to be made. Default: 1 s.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Silence on the connection after which the cache is pinged. With `keepalive_timeout` it bounds how long reads wait
    /// for a cache that hangs before they go to their upstreams. Default: 500 ms.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// How long the answer to a ping may take; then the connection is given up. Default: 500 ms.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
    /// A PEM file with the authorities that an `https://` cache is verified against. Default: the system's.
    pub ca_file: Option<PathBuf>,
    /// A PEM file with the certificate that the gateway shows to it. Default: none.
    pub cert_file: Option<PathBuf>,
    /// A PEM file with the key of that certificate. Default: none.
    pub key_file: Option<PathBuf>,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            url: None,
            connect_timeout: Duration::from_secs(1),
            keepalive_interval: Duration::from_millis(500),
            keepalive_timeout: Duration::from_millis(500),
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }
}

impl CacheConfig {
    /// The cache as an upstream, for one kind of calls: each kind has connections of its own, so that none waits behind
    /// another. None where there is no cache.
    pub fn upstream(&self, name: &str, max_in_flight: usize) -> Option<UpstreamConfig> {
        Some(UpstreamConfig {
            name: name.to_owned(),
            urls: vec![self.url.clone()?],
            max_in_flight,
            connect_timeout: self.connect_timeout,
            keepalive_interval: self.keepalive_interval,
            keepalive_timeout: self.keepalive_timeout,
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
            ..UpstreamConfig::default()
        })
    }
}

/// What the contract is made of, besides what each upstream says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContractConfig {
    /// Overlay files, weakest first. Default: none.
    pub overlays: Vec<PathBuf>,
    /// How often descriptor and overlay files are looked at for changes. Default: 1 s.
    #[serde(with = "humantime_serde")]
    pub watch_interval: Duration,
    /// How often an upstream's server reflection is read again without a visible reason. Default: 1 min.
    #[serde(with = "humantime_serde")]
    pub reflection_interval: Duration,
}

impl Default for ContractConfig {
    fn default() -> Self {
        Self {
            overlays: Vec::new(),
            watch_interval: Duration::from_secs(1),
            reflection_interval: Duration::from_mins(1),
        }
    }
}

/// How much is let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Most calls in flight at a time; more are shed, least critical first. Default: 4096.
    pub max_in_flight: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { max_in_flight: 4096 }
    }
}
