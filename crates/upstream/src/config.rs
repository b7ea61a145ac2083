//! The sections `[[upstream]]` and `[discovery]`, the same in every binary that calls upstreams.

mod discovery;
mod adaptive;
mod outlier;
pub(crate) mod version;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use accord_runtime::config::Invalid;
use accord_runtime::config::bound::{self, Count, DAY, HOUR, Time};
use accord_runtime::fair_share::FairShare;
use accord_runtime::reload::Reloading;
use accord_runtime::tls::{ClientTlsConfig, TlsError};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::url::{self, Host, Url};

pub use self::version::VersionConfig;
pub use crate::url::{deserialize as url, list as urls};
pub use adaptive::AdaptiveConfig;
pub use discovery::{DiscoveryConfig, DnsConfig, KubernetesConfig};
pub use outlier::OutlierConfig;

/// The most characters of an upstream's name: those of a DNS label.
const LONGEST_NAME: usize = 63;

/// A service that is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Its name: what `explain` and metrics show, and the audience of passports for it. Letters, digits, `-`, `_` and `.`, 63 at
    /// most. No default; no two have the same.
    #[serde(deserialize_with = "bound::text")]
    pub name: String,
    /// The URLs of its endpoints, `http://` or `https://`. A host name is resolved to all its addresses (A and AAAA
    /// records), again whenever their time to live is over; `http+srv://NAME` asks for SRV records. With
    /// `http+k8s://SERVICE.NAMESPACE:PORT` the `EndpointSlices` of a Service in Kubernetes are watched; the port is its name in
    /// the Service, or the number on which the pods listen. No default; at least one.
    #[serde(deserialize_with = "url::list")]
    pub urls: Vec<String>,
    /// A file with its `FileDescriptorSet`, imports included; only the gateway reads it. Default: none, its server
    /// reflection is read.
    #[serde(deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub descriptors: Option<PathBuf>,
    /// The services that it serves, by their full names such as `shop.v1.CartService`; only the gateway reads it. Upstreams
    /// that share a descriptor set each name their own. Default: those that its server reflection lists, or all of its
    /// descriptor set, but for imported ones that another upstream has as well.
    #[serde(deserialize_with = "bound::texts", skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Its share of the calls, where it has versions and no `match` of them fits, among its weight and theirs, 0 to 1000000; only
    /// the gateway reads it. Default: 100.
    #[serde(with = "Count::<0, 1_000_000>")]
    pub weight: u32,
    /// Calls to it that may be in flight at a time, 1 to 1000000; more are refused with `RESOURCE_EXHAUSTED`, so that a slow
    /// upstream can't take the room of others. Default: 2048.
    #[serde(with = "Count::<1, 1_000_000>")]
    pub max_in_flight: usize,
    /// Most of them that one caller of the gateway may have in flight, in percent, 1 to 99, so that others find room; only the
    /// gateway reads it. Default: 50.
    #[serde(with = "Count::<1, 99>")]
    pub max_share: u64,
    /// Bytes of headers or trailers of one answer, counted as in RFC 9113, 6.5.2; 1024 to 16777216. A call with more fails
    /// alone, with the code that the upstream gave. Default: 65536.
    #[serde(with = "Count::<1_024, 16_777_216>")]
    pub max_header_bytes: u32,
    /// Connections of each worker to each endpoint while all is well, 1 to 1024. Default: 2.
    #[serde(with = "Count::<1, 1_024>")]
    pub connections: usize,
    /// Most connections of each worker to each endpoint, 1 to 65535: further ones are made when the peer takes no more streams
    /// on those that there are. Default: 64.
    #[serde(with = "Count::<1, 65_535>")]
    pub max_connections: usize,
    /// The time in which the share of a new endpoint grows from a tenth to that of the others, 0s to 1h, so that it can warm up.
    /// With 0s it has its share at once. Default: 10 s.
    #[serde(with = "Time::<0, HOUR>")]
    pub slow_start: Duration,
    /// When an endpoint is ejected because more of its calls fail than of the others'.
    pub outlier_detection: OutlierConfig,
    /// How long a connection may take until it stands: TCP, TLS, and the answer to a first ping; 1ms to 1h. Default: 2 s.
    #[serde(with = "Time::<1, HOUR>")]
    pub connect_timeout: Duration,
    /// Silence on a connection after which the peer is pinged, 1ms to 24h. Doubled where a peer says that it is too often.
    /// Default: 10 s.
    #[serde(with = "Time::<1, DAY>")]
    pub keepalive_interval: Duration,
    /// How long the answer to a ping may take, 1ms to 1h; then the connection is given up. Default: 5 s.
    #[serde(with = "Time::<1, HOUR>")]
    pub keepalive_timeout: Duration,
    /// The adaptive limit below `max_in_flight`, which follows the time that answers take.
    pub adaptive: AdaptiveConfig,
    /// The authorities that its `https://` endpoints are verified against, and the certificate that is shown to it.
    /// Default: the system's, and none.
    #[serde(skip_serializing_if = "ClientTlsConfig::is_empty")]
    pub tls: ClientTlsConfig,
    /// Other versions of it, each with endpoints of its own and everything else as here. Default: none.
    pub version: Vec<VersionConfig>,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            urls: Vec::new(),
            descriptors: None,
            services: Vec::new(),
            weight: 100,
            max_in_flight: 2048,
            max_share: FairShare::DEFAULT,
            max_header_bytes: 64 * 1024,
            connections: 2,
            max_connections: 64,
            slow_start: Duration::from_secs(10),
            outlier_detection: OutlierConfig::default(),
            connect_timeout: Duration::from_secs(2),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            adaptive: AdaptiveConfig::default(),
            tls: ClientTlsConfig::default(),
            version: Vec::new(),
        }
    }
}

/// Upstreams as the flag `--upstream` gives them, as the value of the key `upstream`: `NAME=URL`, and the same name again for
/// another endpoint. None where the flag was not given.
pub fn from_flags(given: &[String]) -> Result<Option<Value>, ConfigError> {
    let mut upstreams: Vec<(&str, Vec<Value>)> = Vec::new();
    for flag in given {
        let named = flag.split_once('=').filter(|(name, url)| !name.is_empty() && !url.is_empty());
        let (name, url) = named.ok_or_else(|| ConfigError::Flag(flag.clone()))?;
        match upstreams.iter_mut().find(|(known, _)| *known == name) {
            Some((_, urls)) => urls.push(url.into()),
            None => upstreams.push((name, vec![url.into()])),
        }
    }
    let section = |(name, urls): (&str, _)| {
        Value::Table(Table::from_iter([("name".to_owned(), name.into()), ("urls".to_owned(), Value::Array(urls))]))
    };
    Ok((!given.is_empty()).then(|| upstreams.into_iter().map(section).collect::<Vec<_>>().into()))
}

/// Why an upstream can't be called as configured. Whether it is there shows only when it is called.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `--upstream` without a name or a URL.
    #[error("--upstream {0} is not of the form NAME=URL, such as --upstream catalog=http://127.0.0.1:9000")]
    Flag(String),
    /// A value that can't be right.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The TLS files are unusable.
    #[error("upstream {upstream}: {source}")]
    Tls {
        /// The upstream's name.
        upstream: String,
        /// What is wrong with them.
        source: Box<TlsError>,
    },
}

/// What a configuration says, checked.
pub(crate) struct Checked {
    pub urls: Vec<Arc<Url>>,
    pub trust: Option<Arc<Reloading<ClientConfig>>>,
}

impl UpstreamConfig {
    /// What contradicts itself.
    pub fn contradictions(&self) -> Vec<Invalid> {
        let half = self.tls.contradiction().map(|half| half.under("tls"));
        self.parsed()
            .err()
            .into_iter()
            .chain(self.misnamed())
            .chain(half)
            .chain(version::contradictions(self))
            .collect()
    }

    /// A name that can't be shown everywhere. That there is none is found with the endpoints.
    fn misnamed(&self) -> Option<Invalid> {
        let problem = format!("`{:.64}` is no name of an upstream", self.name);
        let remedy =
            format!("begin with a letter or digit, then letters, digits, `-`, `_` and `.`, {LONGEST_NAME} at most");
        (!self.name.is_empty() && !is_name(&self.name)).then(|| Invalid::new("name", problem, remedy))
    }

    /// Which of its files can't be used. Where nobody is verified, whether the system has authorities does not matter.
    pub fn unusable(&self) -> Vec<Invalid> {
        let is_encrypted = self.parsed().is_ok_and(|urls| is_encrypted(&urls));
        let refused = is_encrypted.then(|| self.tls.check().err()).flatten();
        let own = refused.map(|error| error.under("tls")).or_else(|| self.unused_files());
        own.into_iter().chain(version::unusable(self)).collect()
    }

    pub(crate) fn checked(&self) -> Result<Checked, ConfigError> {
        let urls = self.parsed()?;
        self.unused_files().map_or(Ok(()), Err)?;
        let trust = is_encrypted(&urls).then(|| self.tls.load()).transpose();
        let trust =
            trust.map_err(|source| ConfigError::Tls { upstream: self.name.clone(), source: Box::new(source) })?;
        Ok(Checked { urls, trust })
    }

    /// Whether Kubernetes is asked for endpoints of it.
    pub(crate) fn is_in_kubernetes(&self) -> bool {
        self.parsed().is_ok_and(|urls| urls.iter().any(|url| matches!(url.host, Host::Kubernetes(_))))
    }

    fn parsed(&self) -> Result<Vec<Arc<Url>>, Invalid> {
        let Self { name, .. } = self;
        if name.is_empty() {
            return Err(Invalid::new("name", "an upstream has no name", "give each [[upstream]] a `name`"));
        }
        if self.urls.is_empty() {
            let remedy = format!("give it at least one URL, `--upstream {name}=http://host:port`");
            return Err(Invalid::new("urls", format!("{name} has no endpoint"), remedy));
        }
        let parse = |(index, url): (usize, &String)| {
            Url::parse(url).map(Arc::new).map_err(|error| Invalid::of(format!("urls.{index}"), error))
        };
        let urls = self.urls.iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
        Ok(urls)
    }

    /// Files that would not be used hide that the calls are not encrypted.
    fn unused_files(&self) -> Option<Invalid> {
        let is_used = self.tls.is_empty() || self.parsed().is_ok_and(|urls| is_encrypted(&urls));
        let problem = format!("{} has TLS files and no https:// endpoint", self.name);
        (!is_used).then(|| Invalid::new("tls", problem, "write https:// or leave the files out"))
    }
}

/// The name stands in metrics, logs, audiences and tables for people.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.len() <= LONGEST_NAME
        && name.bytes().all(is_plain)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

fn is_encrypted(urls: &[Arc<Url>]) -> bool {
    urls.iter().any(|url| url.server_name.is_some())
}

/// What contradicts itself in each upstream, and names that are given twice.
pub fn contradictions(configured: &[UpstreamConfig]) -> Vec<Invalid> {
    let mut found = Vec::new();
    for (index, upstream) in configured.iter().enumerate() {
        let section = format!("upstream.{index}");
        found.extend(upstream.contradictions().into_iter().map(|invalid| invalid.under(&section)));
        if configured[..index].iter().any(|other| other.name == upstream.name) {
            let problem = format!("two upstreams are named {}", upstream.name);
            let remedy = "give each [[upstream]] its own `name`, and one of them several `urls`";
            found.push(Invalid::new("name", problem, remedy).under(section));
        }
    }
    found
}

pub(crate) fn first_contradiction(configured: &[UpstreamConfig]) -> Result<(), ConfigError> {
    contradictions(configured).into_iter().next().map_or(Ok(()), |invalid| Err(invalid.into()))
}

/// Which files of upstreams can't be used.
pub fn unusable(configured: &[UpstreamConfig]) -> Vec<Invalid> {
    let of = |(index, upstream): (usize, &UpstreamConfig)| {
        upstream.unusable().into_iter().map(move |invalid| invalid.under(format!("upstream.{index}")))
    };
    configured.iter().enumerate().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut UpstreamConfig)) -> Invalid {
        let mut config = UpstreamConfig {
            name: "shop".into(),
            urls: vec!["http://127.0.0.1:1".into()],
            ..UpstreamConfig::default()
        };
        assert_eq!(config.contradictions(), []);
        change(&mut config);
        config.contradictions().remove(0)
    }

    #[test]
    fn contradiction_is_refused_with_its_key_and_the_remedy() {
        let half = |config: &mut UpstreamConfig| {
            config.urls[0] = "https://localhost:1".into();
            config.tls.cert_file = Some("a.pem".into());
        };
        for (invalid, key, remedy) in [
            (refused(|config| config.name.clear()), "name", "give each [[upstream]] a `name`"),
            (refused(|config| config.urls.clear()), "urls", "--upstream shop=http://host:port"),
            (refused(|config| config.urls[0] = "127.0.0.1:1".into()), "urls.0", "write it like http://"),
            (refused(half), "tls.cert_file", "give both or none"),
        ] {
            assert!(invalid.key == key && invalid.remedy.contains(remedy), "{invalid}");
        }
    }

    #[test]
    fn upstream_name_outside_the_alphabet_or_too_long_is_refused() {
        for name in ["a b", "../x", "-a", "a/b", "a\nb", "ä", &"x".repeat(64)] {
            let invalid = refused(|config| config.name = name.to_owned());
            assert!(invalid.key == "name" && invalid.remedy.contains("63 at most"), "{name:?}: {invalid}");
        }
    }

    #[test]
    fn upstream_name_of_the_alphabet_is_accepted() {
        for name in ["shop", "Shop-2_b.example", "7", &"x".repeat(63)] {
            let urls = vec!["http://127.0.0.1:1".to_owned()];
            assert_eq!(UpstreamConfig { name: name.to_owned(), urls, ..Default::default() }.contradictions(), []);
        }
    }

    #[test]
    fn file_that_cannot_be_read_is_refused_with_its_key() {
        let mut config = UpstreamConfig { name: "shop".into(), urls: vec!["https://a:1".into()], ..Default::default() };
        config.tls.ca_file = Some("nowhere/ca.pem".into());
        assert_eq!(config.unusable()[0].key, "tls.ca_file");
    }

    #[test]
    fn files_of_a_plaintext_upstream_are_refused() {
        let mut config = UpstreamConfig { name: "shop".into(), urls: vec!["http://a:1".into()], ..Default::default() };
        config.tls.ca_file = Some("ca.pem".into());
        let found = config.unusable();
        assert!(found[0].key == "tls" && found[0].remedy.contains("write https://"), "{found:?}");
        assert!(config.checked().is_err());
    }

    #[test]
    fn plaintext_upstream_needs_no_authorities() {
        let config = UpstreamConfig { name: "shop".into(), urls: vec!["http://a:1".into()], ..Default::default() };
        assert_eq!(config.unusable(), []);
    }

    fn flags(given: &[&str]) -> Result<Vec<UpstreamConfig>, ConfigError> {
        let value = from_flags(&given.iter().copied().map(str::to_owned).collect::<Vec<_>>())?;
        Ok(value.map_or_else(Vec::new, |value| value.try_into().unwrap()))
    }

    #[test]
    fn flag_with_a_known_name_adds_an_endpoint() {
        let found = flags(&["catalog=http://127.0.0.1:9000", "shop=http://a:1", "shop=http://b:1/"]).unwrap();
        let urls: Vec<_> = found.iter().map(|upstream| (upstream.name.as_str(), upstream.urls.len())).collect();
        assert_eq!(urls, [("catalog", 1), ("shop", 2)]);
    }

    #[test]
    fn flag_is_separated_by_its_first_equals_sign_only() {
        let value = from_flags(&["shop=http://b:1?x=y".to_owned()]).unwrap().unwrap();
        assert_eq!(value[0]["urls"][0].as_str(), Some("http://b:1?x=y"));
    }

    #[test]
    fn flag_that_was_not_given_sets_nothing() {
        assert_eq!(from_flags(&[]).unwrap(), None);
    }

    #[test]
    fn flag_without_a_name_or_a_url_is_refused_with_an_example() {
        for wrong in ["http://127.0.0.1:9000", "=http://127.0.0.1:9000", "catalog="] {
            let error = flags(&[wrong]).unwrap_err().to_string();
            assert!(error.contains("--upstream catalog=http://127.0.0.1:9000"), "{error}");
        }
    }

    #[test]
    fn upstreams_of_one_name_are_refused() {
        let one = UpstreamConfig { name: "shop".into(), urls: vec!["http://127.0.0.1:1".into()], ..Default::default() };
        let found = contradictions(&[one.clone(), one]);
        assert_eq!(found[0].key, "upstream.1.name");
        assert!(found[0].problem.contains("two upstreams are named shop"));
    }
}
