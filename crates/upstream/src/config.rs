//! The section `[[upstream]]`, the same in every binary that calls upstreams.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use accord_runtime::reload::Reloading;
use accord_runtime::tls::{ClientFiles, TlsError};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};

use crate::url::{Url, UrlError};

/// A service that is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Its name: what `explain` and metrics show, and the audience of passports for it. No default.
    pub name: String,
    /// The URLs of its endpoints, `http://` or `https://`. A host name is resolved to all its addresses (A and AAAA
    /// records), again whenever their time to live is over; `http+srv://NAME` asks for SRV records. No default; at least one.
    pub urls: Vec<String>,
    /// A file with its `FileDescriptorSet`, imports included; only the gateway reads it. Default: none, its server
    /// reflection is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptors: Option<PathBuf>,
    /// Calls to it that may be in flight at a time; more are refused with `RESOURCE_EXHAUSTED`, so that a slow upstream can't
    /// take the room of others. Default: 2048.
    pub max_in_flight: usize,
    /// Bytes of headers or trailers of one answer, counted as in RFC 9113, 6.5.2. A call with more fails alone, with the
    /// code that the upstream gave. Default: 65536.
    pub max_header_bytes: u32,
    /// Connections to each endpoint while all is well. Default: 2.
    pub connections: usize,
    /// Most connections to each endpoint: further ones are made when the peer takes no more streams on those that there are.
    /// Default: 64.
    pub max_connections: usize,
    /// How long a connection may take until it stands: TCP, TLS, and the answer to a first ping. Default: 2 s.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Silence on a connection after which the peer is pinged. Doubled where a peer says that it is too often.
    /// Default: 10 s.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// How long the answer to a ping may take; then the connection is given up. Default: 5 s.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
    /// A PEM file with the authorities that its `https://` endpoints are verified against. Default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// A PEM file with the certificate that is shown to it. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// A PEM file with the key of that certificate. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            urls: Vec::new(),
            descriptors: None,
            max_in_flight: 2048,
            max_header_bytes: 64 * 1024,
            connections: 2,
            max_connections: 64,
            connect_timeout: Duration::from_secs(2),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }
}

/// Upstreams as the flag `--upstream` gives them: `NAME=URL`, and the same name again for another endpoint.
pub fn from_flags(given: &[String]) -> Result<Vec<UpstreamConfig>, ConfigError> {
    let mut upstreams: Vec<UpstreamConfig> = Vec::new();
    for flag in given {
        let named = flag.split_once('=').filter(|(name, url)| !name.is_empty() && !url.is_empty());
        let (name, url) = named.ok_or_else(|| ConfigError::Flag(flag.clone()))?;
        match upstreams.iter_mut().find(|upstream| upstream.name == name) {
            Some(upstream) => upstream.urls.push(url.to_owned()),
            None => upstreams.push(UpstreamConfig {
                name: name.to_owned(),
                urls: vec![url.to_owned()],
                ..UpstreamConfig::default()
            }),
        }
    }
    Ok(upstreams)
}

/// Why an upstream can't be called as configured. Whether it is there shows only when it is called.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `--upstream` without a name or a URL.
    #[error("--upstream {0} is not of the form NAME=URL, such as --upstream catalog=http://127.0.0.1:9000")]
    Flag(String),
    /// No name.
    #[error("an upstream has no name: give each [[upstream]] a `name`")]
    Nameless,
    /// Two of one name.
    #[error("two upstreams are named {0}: give each [[upstream]] its own `name`, and one of them several `urls`")]
    Twice(String),
    /// No URL.
    #[error("upstream {0} has no endpoint: give it at least one URL, `--upstream {0}=http://host:port`")]
    NoEndpoint(String),
    /// A bound of zero, with which nothing could ever be called.
    #[error("upstream {upstream}: `{key}` is 0, so nothing could ever be called; leave it out for its default")]
    Zero {
        /// The upstream's name.
        upstream: String,
        /// The key.
        key: &'static str,
    },
    /// A URL that can't be used.
    #[error("upstream {upstream} has an endpoint that can't be used: {source}")]
    Url {
        /// The upstream's name.
        upstream: String,
        /// What is wrong with it.
        source: UrlError,
    },
    /// TLS files, and nothing to use them for.
    #[error("upstream {0} has TLS files and no https:// endpoint; write https:// or leave the files out")]
    Plaintext(String),
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
    pub trust: Option<Reloading<ClientConfig>>,
}

impl UpstreamConfig {
    /// Whether the upstream can be called as configured, as far as that can be said without calling it.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.checked().map(drop)
    }

    pub(crate) fn checked(&self) -> Result<Checked, ConfigError> {
        let upstream = || self.name.clone();
        if self.name.is_empty() {
            return Err(ConfigError::Nameless);
        }
        self.bounds()
            .find(|(_, is_zero)| *is_zero)
            .map_or(Ok(()), |(key, _)| Err(ConfigError::Zero { upstream: upstream(), key }))?;
        if self.urls.is_empty() {
            return Err(ConfigError::NoEndpoint(upstream()));
        }
        let urls = self.urls.iter().map(|url| Url::parse(url).map(Arc::new)).collect::<Result<Vec<_>, _>>();
        let urls = urls.map_err(|source| ConfigError::Url { upstream: upstream(), source })?;
        let is_encrypted = urls.iter().any(|url| url.server_name.is_some());
        let files = self.tls();
        if !is_encrypted && !files.is_empty() {
            return Err(ConfigError::Plaintext(upstream()));
        }
        let trust = is_encrypted.then(|| files.load()).transpose();
        let trust = trust.map_err(|source| ConfigError::Tls { upstream: upstream(), source: Box::new(source) })?;
        Ok(Checked { urls, trust })
    }

    fn tls(&self) -> ClientFiles {
        let Self { ca_file, cert_file, key_file, .. } = self.clone();
        ClientFiles { ca_file, cert_file, key_file }
    }

    fn bounds(&self) -> impl Iterator<Item = (&'static str, bool)> {
        [
            ("max_in_flight", self.max_in_flight == 0),
            ("max_header_bytes", self.max_header_bytes == 0),
            ("connections", self.connections == 0),
            ("max_connections", self.max_connections == 0),
            ("connect_timeout", self.connect_timeout.is_zero()),
            ("keepalive_interval", self.keepalive_interval.is_zero()),
            ("keepalive_timeout", self.keepalive_timeout.is_zero()),
        ]
        .into_iter()
    }
}

/// Whether upstreams can be called as configured, and their names differ.
pub fn check(configured: &[UpstreamConfig]) -> Result<(), ConfigError> {
    for (index, upstream) in configured.iter().enumerate() {
        upstream.check()?;
        if configured[..index].iter().any(|other| other.name == upstream.name) {
            return Err(ConfigError::Twice(upstream.name.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut UpstreamConfig)) -> String {
        let mut config = UpstreamConfig {
            name: "shop".into(),
            urls: vec!["http://127.0.0.1:1".into()],
            ..UpstreamConfig::default()
        };
        assert!(config.check().is_ok());
        change(&mut config);
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn unusable_configuration_is_refused_with_the_remedy() {
        assert!(refused(|config| config.name.clear()).contains("give each [[upstream]] a `name`"));
        assert!(refused(|config| config.urls.clear()).contains("--upstream shop=http://host:port"));
        assert!(refused(|config| config.urls[0] = "127.0.0.1:1".into()).contains("write it like http://"));
        let half = |config: &mut UpstreamConfig| {
            config.urls[0] = "https://localhost:1".into();
            config.cert_file = Some("a.pem".into());
        };
        assert!(refused(half).contains("give both or none"));
        assert!(refused(|config| config.ca_file = Some("ca.pem".into())).contains("write https://"));
        assert!(refused(|config| config.max_in_flight = 0).contains("`max_in_flight` is 0"));
        assert!(refused(|config| config.keepalive_timeout = Duration::ZERO).contains("`keepalive_timeout` is 0"));
    }

    fn flags(given: &[&str]) -> Result<Vec<UpstreamConfig>, ConfigError> {
        from_flags(&given.iter().copied().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flag_with_a_known_name_adds_an_endpoint() {
        let found = flags(&["catalog=http://127.0.0.1:9000", "shop=http://a:1", "shop=http://b:1?x=y"]).unwrap();
        let urls: Vec<_> = found.iter().map(|upstream| (upstream.name.as_str(), upstream.urls.len())).collect();
        assert_eq!(urls, [("catalog", 1), ("shop", 2)]);
        assert_eq!(found[1].urls[1], "http://b:1?x=y", "only the first = separates");
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
        assert!(check(&[one.clone(), one]).unwrap_err().to_string().contains("two upstreams are named shop"));
    }
}
