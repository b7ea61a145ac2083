//! The section `[second_level]`.

use std::path::PathBuf;
use std::time::Duration;

use accord_redis::{Options, servers};
use accord_runtime::config::bound::{self, Count, DAY, HOUR, Time};
use accord_runtime::config::{Invalid, Secret};
use accord_runtime::tls::ClientTlsConfig;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::format::SEALED_WITH;

/// Where replicas of a cache share what they have loaded.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecondLevelConfig {
    /// URL of a Valkey or Redis, `redis://HOST:PORT` or, with TLS, `rediss://HOST:PORT`, with `/NUMBER` for another database than 0.
    /// A Cluster is recognised: of that, some of the nodes, with commas between them. It takes `log.url` and
    /// `consistency.token_key_file`. Default: none, so that each replica loads for itself.
    #[serde(deserialize_with = "url", skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The name under which the cache logs in. Default: none, which is the server's user `default`.
    #[serde(deserialize_with = "bound::text", skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The password; better given as a file or by the environment. Default: none.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub password: Secret,
    /// A file that holds the password, read for each connection; white space around it is ignored. Default: none.
    #[serde(deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// How long a read waits for it before it asks its upstream, 1ms to 1h, and never longer than half of what is left of its
    /// deadline. Default: `50ms`.
    #[serde(with = "Time::<1, HOUR>")]
    pub timeout: Duration,
    /// How long a connection may take until it can be used, 1ms to 1h. Default: `1s`.
    #[serde(with = "Time::<1, HOUR>")]
    pub connect_timeout: Duration,
    /// Commands in flight to a server at a time, 1 to 1000000; reads that would be one more ask their upstream. Default: 4096.
    #[serde(with = "Count::<1, 1_000_000>")]
    pub max_in_flight: usize,
    /// How long a value is there at most, 1ms to 24h, whatever the contract says. Default: `1h`.
    #[serde(with = "Time::<1, DAY>")]
    pub max_ttl: Duration,
    /// Bytes of a value with its tags and metadata, uncompressed, 1024 to 67108864; a larger one is not written, and not read.
    /// Default: 1048576 (1 MiB).
    #[serde(with = "Count::<1024, 67_108_864>")]
    pub max_value_bytes: usize,
    /// Bytes from which on a value is compressed (zstd), 64 to 67108864. Default: 1024.
    #[serde(with = "Count::<64, 67_108_864>")]
    pub compress_from_bytes: usize,
    /// Bytes of the values that wait to be written, 65536 to 1073741824; beyond, values are left out. Default: 16777216 (16 MiB).
    #[serde(with = "Count::<65_536, 1_073_741_824>")]
    pub max_waiting_bytes: usize,
    /// What its keys begin with: replicas that share values have the same. Default: `accord`.
    #[serde(deserialize_with = "bound::text")]
    pub key_prefix: String,
    /// The authorities that a `rediss://` server is verified against, and the certificate that the cache shows to it.
    /// Default: the system's, and none.
    #[serde(skip_serializing_if = "ClientTlsConfig::is_empty")]
    pub tls: ClientTlsConfig,
}

impl Default for SecondLevelConfig {
    fn default() -> Self {
        Self {
            url: None,
            username: String::new(),
            password: Secret::default(),
            password_file: None,
            timeout: Duration::from_millis(50),
            connect_timeout: Duration::from_secs(1),
            max_in_flight: 4096,
            max_ttl: Duration::from_hours(1),
            max_value_bytes: 1024 * 1024,
            compress_from_bytes: 1024,
            max_waiting_bytes: 16 * 1024 * 1024,
            key_prefix: "accord".to_owned(),
            tls: ClientTlsConfig::default(),
        }
    }
}

impl SecondLevelConfig {
    /// What contradicts itself, or lacks what it needs of the rest of the configuration. Its keys begin with `second_level`.
    pub(crate) fn contradictions(&self, has_log: bool, has_secret: bool) -> Vec<Invalid> {
        let Some(options) = self.options() else { return Vec::new() };
        let no_log = (!has_log).then(|| {
            let problem = "without a shared log there is one process, which has in its memory what it would find there, and \
                           nothing would say which of the values of the process before it are still good";
            Invalid::new("second_level.url", problem, "give `log.url` as well, or leave it out")
        });
        let no_secret = (!has_secret).then(|| {
            let problem =
                "values there are encrypted and authenticated by the secret of consistency tokens, and there is none";
            let remedy = "give all replicas one `consistency.token_key_file`, or leave it out";
            Invalid::new("second_level.url", problem, remedy)
        });
        options.contradictions().into_iter().chain(no_log).chain(no_secret).collect()
    }

    /// Which of its files can't be used. Their keys begin with `second_level`.
    pub(crate) fn unusable(&self) -> Vec<Invalid> {
        self.options().map_or_else(Vec::new, |options| options.unusable())
    }

    /// How its servers are reached; none where there is no URL.
    pub(super) fn options(&self) -> Option<Options> {
        Some(Options {
            section: "second_level",
            servers: servers(self.url.as_deref()?).ok()?,
            username: self.username.clone(),
            password: self.password.clone(),
            password_file: self.password_file.clone(),
            connect_timeout: self.connect_timeout,
            max_in_flight: self.max_in_flight,
            max_reply_bytes: self.max_value_bytes + SEALED_WITH,
            tls: self.tls.clone(),
        })
    }
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    servers(&text).map_err(de::Error::custom)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(url: Option<&str>, has_log: bool, has_secret: bool) -> Vec<String> {
        let config = SecondLevelConfig { url: url.map(str::to_owned), ..SecondLevelConfig::default() };
        config.contradictions(has_log, has_secret).into_iter().map(|invalid| invalid.to_string()).collect()
    }

    #[test]
    fn second_level_without_shared_log_is_refused_with_the_reason() {
        let problems = problems(Some("redis://valkey"), false, true);
        assert!(matches!(&problems[..], [one] if one.contains("there is one process")), "{problems:?}");
    }

    #[test]
    fn second_level_without_a_secret_of_all_replicas_is_refused_with_the_remedy() {
        let problems = problems(Some("redis://valkey"), true, false);
        assert!(matches!(&problems[..], [one] if one.contains("consistency.token_key_file")), "{problems:?}");
    }

    #[test]
    fn second_level_with_log_and_secret_or_none_at_all_contradicts_nothing() {
        assert_eq!(problems(Some("redis://valkey"), true, true), [""; 0]);
        assert_eq!(problems(None, false, false), [""; 0]);
    }
}
