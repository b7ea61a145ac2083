//! Configuration of the gateway: one tree of plain data, every key with its unit and default.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use accord_mesh::MeshConfig;
use accord_runtime::config::bound::{self, Count, DAY, HOUR, Time};
use accord_runtime::config::{Configuration, Invalid};
use accord_runtime::fair_share::FairShare;
use accord_runtime::server::{Address, ListenConfig};
use accord_runtime::telemetry::TelemetryConfig;
use accord_runtime::tls::ClientTlsConfig;
use accord_upstream::config as upstream;
pub use accord_upstream::{DiscoveryConfig, UpstreamConfig};
use serde::{Deserialize, Serialize};

mod client_certificates;

pub use self::client_certificates::ClientCertificatesConfig;
pub use crate::cors::CorsConfig;
pub use crate::explain_call::ExplainConfig;
pub use crate::inspect::openapi::OpenApiConfig;
use crate::metadata;
pub use crate::protocol::CompressionConfig;
pub use crate::rate_limit::SharedLimitsConfig;

/// The gateway's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The public listener. Default address: 127.0.0.1:8080.
    pub listen: ListenConfig,
    /// The admin port: metrics, health, explain, the console. Default address: 127.0.0.1:8081.
    pub admin: ListenConfig,
    /// The internal listener, by which services call each other. Default address: none, and then there is no such listener.
    pub internal: ListenConfig<Option<Address>>,
    /// Who clients of the public and the internal listener are by their certificates.
    pub client_certificates: ClientCertificatesConfig,
    /// Who a call of the public listener comes from.
    pub forwarding: ForwardingConfig,
    /// Pages of which origins may call the public listener from a browser.
    pub cors: CorsConfig,
    /// Server reflection of the public and the internal listener.
    pub reflection: ReflectionConfig,
    /// The `OpenAPI` document of the public listener.
    pub openapi: OpenApiConfig,
    /// Answers that are compressed for callers who accept that.
    pub compression: CompressionConfig,
    /// Calls that are explained to their callers.
    pub explain: ExplainConfig,
    /// The console on the admin port.
    pub console: ConsoleConfig,
    /// Where credentials are verified and access is decided.
    pub auth: MeshConfig,
    /// Where declared reads are answered from.
    pub cache: CacheConfig,
    /// What of them is kept in the gateway's own memory.
    pub near: NearConfig,
    /// Where endpoints are found.
    pub discovery: DiscoveryConfig,
    /// The services behind the gateway.
    pub upstream: Vec<UpstreamConfig>,
    /// What the contract is made of, besides what each upstream says of itself.
    pub contract: ContractConfig,
    /// How much is let in.
    pub limits: LimitsConfig,
    /// Where rate limits are counted for all gateways together.
    pub shared_limits: SharedLimitsConfig,
    /// Logs, metrics and traces.
    pub telemetry: TelemetryConfig,
    /// How long calls in flight may take to end after a signal to stop, 1ms to 1h. Default: 30 s.
    #[serde(with = "Time::<1, HOUR>")]
    pub grace: Duration,
    /// Threads that serve callers, each with connections to upstreams of its own, 0 to 1024. Default: 0, which is one for each
    /// core, of which a container's CPU limit counts.
    #[serde(with = "Count::<0, 1024>")]
    pub workers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ListenConfig::local(8080),
            admin: ListenConfig::local(8081),
            internal: ListenConfig::default(),
            client_certificates: ClientCertificatesConfig::default(),
            forwarding: ForwardingConfig::default(),
            cors: CorsConfig::default(),
            reflection: ReflectionConfig::default(),
            openapi: OpenApiConfig::default(),
            compression: CompressionConfig::default(),
            explain: ExplainConfig::default(),
            console: ConsoleConfig::default(),
            auth: MeshConfig::default(),
            cache: CacheConfig::default(),
            near: NearConfig::default(),
            discovery: DiscoveryConfig::default(),
            upstream: Vec::new(),
            contract: ContractConfig::default(),
            limits: LimitsConfig::default(),
            shared_limits: SharedLimitsConfig::default(),
            telemetry: TelemetryConfig::default(),
            grace: Duration::from_secs(30),
            workers: 0,
        }
    }
}

impl Configuration for Config {
    const PREFIX: &'static str = "ACCORD_GATEWAY";

    fn contradictions(&self) -> Vec<Invalid> {
        let cache = self.cache().map(|cache| cache.contradictions()).unwrap_or_default();
        let own = self.auth.contradictions().into_iter().chain(cache.into_iter().map(CacheConfig::key));
        let upstreams = self.discovery.contradictions().into_iter().chain(upstream::contradictions(&self.upstream));
        let own = own.chain(self.shared_limits.contradictions()).chain(upstreams);
        own.chain(self.unseen_headers()).chain(self.taken_address()).chain(self.unshown_certificates()).collect()
    }
}

impl Config {
    /// What of the files that it names can't be used, or is missing.
    pub fn unusable(&self) -> Vec<Invalid> {
        let cache = self.cache().map(|cache| cache.unusable()).unwrap_or_default();
        let own = self.auth.unusable().into_iter().chain(cache.into_iter().map(CacheConfig::key));
        let internal = self.internal.unusable().map(|invalid| invalid.under("internal"));
        let own = own.chain(self.shared_limits.unusable());
        own.chain(internal).chain(upstream::unusable(&self.upstream)).chain(self.unreadable()).collect()
    }

    /// An internal listener that can't be listened on beside the two others.
    fn taken_address(&self) -> Option<Invalid> {
        let internal = self.internal.address.as_ref()?;
        let others = [("listen.address", &self.listen.address), ("admin.address", &self.admin.address)];
        let (key, other) = others.into_iter().find(|(_, other)| internal.overlaps(other))?;
        let problem = format!("{internal} is taken by `{key}`, which is {other}");
        Some(Invalid::new("internal.address", problem, "give the two different ports"))
    }

    /// Headers by which versions are told apart, and which no upstream ever sees.
    fn unseen_headers(&self) -> Vec<Invalid> {
        let mut found = Vec::new();
        for (index, upstream) in self.upstream.iter().enumerate() {
            for (place, version) in upstream.version.iter().enumerate() {
                for name in
                    version.headers.keys().filter(|name| name.parse().is_ok_and(|name| metadata::ends_here(&name)))
                {
                    let key = format!("upstream.{index}.version.{place}.match.{name}");
                    let problem = "this header ends at the gateway, and no upstream sees it";
                    found.push(Invalid::new(key, problem, "match a header of your own, such as `x-canary`"));
                }
            }
        }
        found
    }

    /// The files that the contract is made of, where they can't be read. What is in them is the contract's to say.
    fn unreadable(&self) -> impl Iterator<Item = Invalid> {
        let descriptors = self.upstream.iter().enumerate().filter_map(|(index, upstream)| {
            Some((format!("upstream.{index}.descriptors"), upstream.descriptors.as_ref()?))
        });
        let overlays = self.contract.overlays.iter().enumerate();
        let overlays = overlays.map(|(index, file)| (format!("contract.overlays.{index}"), file));
        descriptors.chain(overlays).filter_map(|(key, file)| {
            let error = fs::read(file).err()?;
            Some(Invalid::new(key, format!("{}: {error}", file.display()), "make it readable, or name another file"))
        })
    }

    fn cache(&self) -> Option<UpstreamConfig> {
        self.cache.upstream("cache", self.limits.max_in_flight)
    }
}

/// Who a call of the public listener comes from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardingConfig {
    /// How many proxies in front of the gateway write the address of their peer into `x-forwarded-for`, 0 to 16. They are
    /// believed about who calls; what a caller writes itself is not. Default: 0, and then the caller is the connection's peer.
    #[serde(with = "Count::<0, 16>")]
    pub trusted_hops: usize,
}

/// Server reflection of the public and the internal listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReflectionConfig {
    /// Whether it is answered, with the descriptors of all upstreams. Default: true.
    pub enabled: bool,
}

impl Default for ReflectionConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// The console on the admin port.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsoleConfig {
    /// Whether it is served, at `/console/` of the admin port; it shows nothing to whoever lacks the permission
    /// `accord.gateway.console`. Default: true.
    pub enabled: bool,
    /// From which duration on a unary call is kept for it as slow, 1ms to 1h. Default: 250 ms.
    #[serde(with = "Time::<1, HOUR>")]
    pub slow_call: Duration,
}

impl Default for ConsoleConfig {
    fn default() -> Self {
        Self { enabled: true, slow_call: Duration::from_millis(250) }
    }
}

/// Where declared reads are answered from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// URL of the cache. Default: none, so that every read goes to its upstream.
    #[serde(deserialize_with = "upstream::url", skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// URLs of its further replicas, which share one invalidation log, where no name leads to all of them. Reads of a key go to one of
    /// all addresses: its owner. Default: none.
    #[serde(deserialize_with = "upstream::urls", skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<String>,
    /// How long a connection to the cache may take to be made, 1ms to 1h. Default: 1 s.
    #[serde(with = "Time::<1, HOUR>")]
    pub connect_timeout: Duration,
    /// Silence on the connection after which the cache is pinged. With `keepalive_timeout` it bounds how long reads wait
    /// for a cache that hangs before they go to their upstreams. 1ms to 24h. Default: 500 ms.
    #[serde(with = "Time::<1, DAY>")]
    pub keepalive_interval: Duration,
    /// How long the answer to a ping may take, 1ms to 1h; then the connection is given up. Default: 500 ms.
    #[serde(with = "Time::<1, HOUR>")]
    pub keepalive_timeout: Duration,
    /// Cached reads in flight past a cache that does not answer, or has no room for them; more are refused with
    /// `RESOURCE_EXHAUSTED`, so that upstreams that live behind a cache are not run over. 1 to 1000000. Default: 512.
    #[serde(with = "Count::<1, 1_000_000>")]
    pub max_bypassed: usize,
    /// The authorities that an `https://` cache is verified against, and the certificate that the gateway shows to it.
    /// Default: the system's, and none.
    #[serde(skip_serializing_if = "ClientTlsConfig::is_empty")]
    pub tls: ClientTlsConfig,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            url: None,
            replicas: Vec::new(),
            connect_timeout: Duration::from_secs(1),
            keepalive_interval: Duration::from_millis(500),
            keepalive_timeout: Duration::from_millis(500),
            max_bypassed: 512,
            tls: ClientTlsConfig::default(),
        }
    }
}

impl CacheConfig {
    /// The cache as an upstream, for one kind of calls: each kind has connections of its own, so that none waits behind
    /// another. None where there is no cache.
    pub fn upstream(&self, name: &str, max_in_flight: usize) -> Option<UpstreamConfig> {
        self.url.as_ref()?;
        Some(UpstreamConfig {
            name: name.to_owned(),
            urls: self.url.iter().chain(&self.replicas).cloned().collect(),
            max_in_flight,
            connect_timeout: self.connect_timeout,
            keepalive_interval: self.keepalive_interval,
            keepalive_timeout: self.keepalive_timeout,
            tls: self.tls.clone(),
            ..UpstreamConfig::default()
        })
    }

    /// What is wrong with the cache as an upstream, said of the section `cache`.
    fn key(invalid: Invalid) -> Invalid {
        let index = invalid.key.strip_prefix("urls.").and_then(|index| index.parse().ok());
        let key = match index {
            None => invalid.key,
            Some(0_usize) => "url".to_owned(),
            Some(index) => format!("replicas.{}", index - 1),
        };
        Invalid { key, ..invalid }.under("cache")
    }
}

/// What of declared reads is kept in the gateway's own memory, where the contract declares `cache.near`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NearConfig {
    /// Bytes of all answers there, with what it costs to find them, 1048576 to 1099511627776; the least useful leave. They come
    /// on top of `limits.max_memory`. Default: 67108864 (64 MiB).
    #[serde(with = "Count::<1_048_576, 1_099_511_627_776>")]
    pub max_bytes: u64,
}

impl Default for NearConfig {
    fn default() -> Self {
        Self { max_bytes: 64 << 20 }
    }
}

/// What the contract is made of, besides what each upstream says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContractConfig {
    /// Overlay files, weakest first. Default: none.
    #[serde(deserialize_with = "bound::files")]
    pub overlays: Vec<PathBuf>,
    /// How often descriptor and overlay files are looked at for changes, 10ms to 24h. Default: 1 s.
    #[serde(with = "Time::<10, DAY>")]
    pub watch_interval: Duration,
    /// How often an upstream's server reflection is read again without a visible reason, 10ms to 24h. Default: 1 min.
    #[serde(with = "Time::<10, DAY>")]
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
    /// Most calls in flight at a time, 1 to 1000000; more are shed, least critical first. Default: 4096.
    #[serde(with = "Count::<1, 1_000_000>")]
    pub max_in_flight: usize,
    /// Most bytes in memory for calls, 1048576 to 1099511627776: requests that are read, and answers until their callers have
    /// read them. More is refused. The process takes up to 64 MiB besides. Default: 268435456.
    #[serde(with = "Count::<1_048_576, 1_099_511_627_776>")]
    pub max_memory: u64,
    /// Most of both that one caller may hold while no other asks, in percent, 1 to 99; a connection gets as much of what its
    /// caller may. A caller is a principal, or an address (of IPv6 a network of 64 bits) as long as nobody is known. The more of
    /// it is held, the less everybody may: n callers that want all have equal shares, and another one still finds room.
    /// Default: 50.
    #[serde(with = "Count::<1, 99>")]
    pub max_share: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { max_in_flight: 4096, max_memory: 256 << 20, max_share: FairShare::DEFAULT }
    }
}

#[cfg(test)]
mod tests {
    use accord_upstream::VersionConfig;

    use super::*;

    fn matching(name: &str) -> Config {
        let version = VersionConfig {
            name: "v2".to_owned(),
            urls: vec!["http://127.0.0.1:2".to_owned()],
            headers: [(name.to_owned(), "1".to_owned())].into(),
            ..VersionConfig::default()
        };
        let (name, urls) = ("shop".to_owned(), vec!["http://127.0.0.1:1".to_owned()]);
        let upstream = UpstreamConfig { name, urls, version: vec![version], ..UpstreamConfig::default() };
        Config { upstream: vec![upstream], ..Config::default() }
    }

    #[test]
    fn replica_of_the_cache_that_is_no_address_is_refused_at_its_key() {
        let replicas = ["http://127.0.0.1:2", "ftp://127.0.0.1:3"].map(str::to_owned).to_vec();
        let cache = CacheConfig { url: Some("http://127.0.0.1:1".to_owned()), replicas, ..CacheConfig::default() };
        let found = Config { cache, ..Config::default() }.contradictions();
        assert_eq!(found.iter().map(|invalid| &*invalid.key).collect::<Vec<_>>(), ["cache.replicas.1"]);
    }

    #[test]
    fn version_matched_by_a_header_that_no_upstream_sees_is_refused_at_its_key() {
        for name in ["Authorization", "grpc-timeout", "accept", "cookie", "sec-fetch-site", "traceparent"] {
            let found = matching(name).contradictions();
            let keys: Vec<_> = found.iter().map(|invalid| invalid.key.clone()).collect();
            assert_eq!(keys, [format!("upstream.0.version.0.match.{name}")]);
        }
        assert_eq!(matching("x-canary").contradictions(), []);
    }
}
