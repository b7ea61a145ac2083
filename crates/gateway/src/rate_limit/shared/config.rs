//! The section `[shared_limits]`.

use std::{path::PathBuf, time::Duration};

use accord_redis::{Options, servers};
use accord_runtime::{
    config::{
        Invalid, Secret,
        bound::{self, Count, HOUR, Time},
    },
    tls::ClientTlsConfig,
};
use serde::{Deserialize, Deserializer, Serialize, de};

/// Where rate limits are counted for all gateways together.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedLimitsConfig {
    /// URL of a Valkey or Redis, `redis://HOST:PORT` or, with TLS, `rediss://HOST:PORT`, with `/NUMBER` for another database than 0.
    /// A Cluster is recognised: of that, some of the nodes, with commas between them. Default: none, so that each gateway counts
    /// for itself.
    #[serde(deserialize_with = "url", skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The name under which the gateway logs in. Default: none, which is the server's user `default`.
    #[serde(deserialize_with = "bound::text", skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The password; better given as a file or by the environment. Default: none.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub password: Secret,
    /// A file that holds the password, read for each connection; white space around it is ignored. Default: none.
    #[serde(deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// How long a call waits to be counted there, 1ms to 1h, and never beyond its deadline. After that its gateway counts it alone.
    /// Default: 50 ms.
    #[serde(with = "Time::<1, HOUR>")]
    pub timeout: Duration,
    /// How long a connection may take until it can be used, 1ms to 1h. Default: 1 s.
    #[serde(with = "Time::<1, HOUR>")]
    pub connect_timeout: Duration,
    /// Calls that may be in flight to a server at a time, 1 to 1000000; more are counted by their gateway alone. Default: 4096.
    #[serde(with = "Count::<1, 1_000_000>")]
    pub max_in_flight: usize,
    /// What its keys begin with: gateways that count together have the same. Default: `accord`.
    #[serde(deserialize_with = "bound::text")]
    pub key_prefix: String,
    /// The authorities that a `rediss://` server is verified against, and the certificate that the gateway shows to it.
    /// Default: the system's, and none.
    #[serde(skip_serializing_if = "ClientTlsConfig::is_empty")]
    pub tls: ClientTlsConfig,
}

impl Default for SharedLimitsConfig {
    fn default() -> Self {
        Self {
            url: None,
            username: String::new(),
            password: Secret::default(),
            password_file: None,
            timeout: Duration::from_millis(50),
            connect_timeout: Duration::from_secs(1),
            max_in_flight: 4096,
            key_prefix: "accord".to_owned(),
            tls: ClientTlsConfig::default(),
        }
    }
}

impl SharedLimitsConfig {
    /// What contradicts itself. Its keys begin with `shared_limits`.
    pub fn contradictions(&self) -> Vec<Invalid> {
        self.options().map_or_else(Vec::new, |options| options.contradictions())
    }

    /// Which of its files can't be used. Their keys begin with `shared_limits`.
    pub fn unusable(&self) -> Vec<Invalid> {
        self.options().map_or_else(Vec::new, |options| options.unusable())
    }

    /// How its servers are reached; none where there is no URL.
    pub(super) fn options(&self) -> Option<Options> {
        Some(Options {
            section: "shared_limits",
            servers: servers(self.url.as_deref()?).ok()?,
            username: self.username.clone(),
            password: self.password.clone(),
            password_file: self.password_file.clone(),
            connect_timeout: self.connect_timeout,
            max_in_flight: self.max_in_flight,
            max_reply_bytes: LONGEST_REPLY,
            tls: self.tls.clone(),
        })
    }
}

/// Far more than the script answers.
const LONGEST_REPLY: usize = 4096;

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    servers(&text).map_err(de::Error::custom)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_given_twice_or_missing_for_a_name_is_refused() {
        let keys =
            |config: &SharedLimitsConfig| config.contradictions().into_iter().map(|it| it.key).collect::<Vec<_>>();
        let url = Some("redis://valkey".to_owned());
        let named = SharedLimitsConfig { url, username: "gateway".to_owned(), ..SharedLimitsConfig::default() };
        assert_eq!(keys(&named), ["shared_limits.username"]);
        let once = SharedLimitsConfig { password: "secret".into(), ..named };
        assert!(keys(&once).is_empty());
        let twice = SharedLimitsConfig { password_file: Some("password".into()), ..once };
        assert_eq!(keys(&twice), ["shared_limits.password_file"]);
    }
}
