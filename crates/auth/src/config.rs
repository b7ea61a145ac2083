//! How auth is set up.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use accord_runtime::{config::Secret, server::ListenConfig, telemetry::TelemetryConfig};
use accord_store::Location;
use accord_token::{Algorithm, Type, claims::LEEWAY};
use serde::{Deserialize, Serialize};

/// The whole configuration of `accord-auth`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The door for callers. Default: `127.0.0.1:8090`.
    pub listen: ListenConfig,
    /// The port for those who operate auth. Default: `127.0.0.1:8091`.
    pub admin: ListenConfig,
    /// What must last.
    pub store: StoreConfig,
    /// What seals the store, and signs.
    pub keys: KeysConfig,
    /// What tokens say, and how long they live.
    pub tokens: TokensConfig,
    /// Who may do what.
    pub policy: PolicyConfig,
    /// Logs, traces, metrics.
    pub telemetry: TelemetryConfig,
    /// How long work in flight has after SIGTERM. Default: `20s`.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
}

/// `[store]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// `sqlite://` with a file's path, or `postgres://`. A password in it is better given by the environment.
    /// Default: `sqlite://accord-auth.db`.
    pub url: Secret,
}

/// `[keys]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeysConfig {
    /// The key that seals private keys in the store: 32 bytes, base64url. Better given as a file. No default.
    pub encryption_key: Secret,
    /// A file with that key. No default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_key_file: Option<PathBuf>,
    /// What new keys sign with: `EdDSA` or `ES256`. Default: `EdDSA`.
    pub algorithm: Algorithm,
    /// How long a key is published before it signs: at least the verifiers' staleness bound and the 10 s by which clocks
    /// may differ. Default: `15s`.
    #[serde(with = "humantime_serde")]
    pub overlap: Duration,
}

/// `[tokens]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokensConfig {
    /// The issuer that tokens name. Default: `https://accord.local`.
    pub issuer: String,
    /// The audience of access tokens. Default: `accord`.
    pub audience: String,
    /// How long an access token lives; at most 24 h. Default: `15m`.
    #[serde(with = "humantime_serde")]
    pub access_life: Duration,
    /// How long a passport lives; at most 5 min. Default: `5m`.
    #[serde(with = "humantime_serde")]
    pub passport_life: Duration,
    /// How long a login can be refreshed. Default: `30days`.
    #[serde(with = "humantime_serde")]
    pub refresh_life: Duration,
    /// How long the refresh token before the newest brings the newest again instead of ending the family; at most 5 s.
    /// Default: `0s`, which is never.
    #[serde(with = "humantime_serde")]
    pub refresh_grace: Duration,
}

/// `[policy]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// Files with Cedar policies, beside the built-in ones. Default: none.
    pub files: Vec<PathBuf>,
}

/// A value that can't be right.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// Longer than verifiers accept.
    #[error("`tokens.{name}` must be between 1s and {}", humantime::format_duration(*longest))]
    Life {
        /// Which.
        name: &'static str,
        /// What verifiers accept.
        longest: Duration,
    },
    /// Nothing that lasts is known by this URL.
    #[error("`store.url` must be `sqlite://` with the path of a file, or begin with `postgres://`")]
    Store,
    /// A key would sign before every verifier knew it.
    #[error(
        "`keys.overlap` must be more than 10s, by which clocks may differ, and more by the `auth.staleness_bound` of the \
         most patient verifier"
    )]
    Overlap,
    /// The grace for refresh tokens is too long.
    #[error("`tokens.refresh_grace` must be at most 5s")]
    Grace,
}

impl Config {
    /// Checks what the types can't.
    pub fn validate(&self) -> Result<(), Unfit> {
        if Location::parse(self.store.url.expose()).is_err() {
            return Err(Unfit::Store);
        }
        let second = Duration::from_secs(1);
        let lives = [
            ("access_life", self.tokens.access_life, Type::Access.longest_life()),
            ("passport_life", self.tokens.passport_life, Type::Passport.longest_life()),
            ("refresh_life", self.tokens.refresh_life, Duration::from_hours(365 * 24)),
        ];
        for (name, life, longest) in lives {
            if life < second || life > longest {
                return Err(Unfit::Life { name, longest });
            }
        }
        // The verifiers' bounds are not known here; the clocks alone need this much.
        if self.keys.overlap <= LEEWAY {
            return Err(Unfit::Overlap);
        }
        if self.tokens.refresh_grace > Duration::from_secs(5) {
            return Err(Unfit::Grace);
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        let at =
            |port| ListenConfig { address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ..ListenConfig::default() };
        Self {
            listen: at(8090),
            admin: at(8091),
            store: StoreConfig::default(),
            keys: KeysConfig::default(),
            tokens: TokensConfig::default(),
            policy: PolicyConfig::default(),
            telemetry: TelemetryConfig::default(),
            grace: Duration::from_secs(20),
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { url: Secret::from("sqlite://accord-auth.db".to_owned()) }
    }
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self {
            encryption_key: Secret::default(),
            encryption_key_file: None,
            algorithm: Algorithm::EdDsa,
            overlap: Duration::from_secs(15),
        }
    }
}

impl Default for TokensConfig {
    fn default() -> Self {
        Self {
            issuer: "https://accord.local".to_owned(),
            audience: "accord".to_owned(),
            access_life: Duration::from_mins(15),
            passport_life: Duration::from_mins(5),
            refresh_life: Duration::from_hours(30 * 24),
            refresh_grace: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfit(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        config.validate().expect("the defaults are good");
        change(&mut config);
        config.validate().err().map(|unfit| unfit.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_can_not_be_right_is_refused_by_its_name() {
        assert!(unfit(|config| config.keys.overlap = LEEWAY).contains("`keys.overlap`"));
        assert!(
            unfit(|config| config.tokens.refresh_grace = Duration::from_secs(6)).contains("`tokens.refresh_grace`")
        );
        assert!(unfit(|config| config.tokens.access_life = Duration::from_hours(25)).contains("`tokens.access_life`"));
        assert!(unfit(|config| config.tokens.passport_life = Duration::ZERO).contains("`tokens.passport_life`"));
        assert!(unfit(|config| config.store.url = Secret::from("mysql://x".to_owned())).contains("`store.url`"));
    }
}
