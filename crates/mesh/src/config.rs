//! How a binary finds auth, and which tokens it accepts.

use std::{path::PathBuf, time::Duration};

use accord_runtime::{
    config::{
        Invalid, Overrides, Secret,
        bound::{self, Count, HOUR, Time},
    },
    tls::ClientTlsConfig,
};
use clap::Args;
use serde::{Deserialize, Serialize};

/// The section `[auth]` of every binary that verifies tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MeshConfig {
    /// Where auth is. Default: `http://127.0.0.1:8090`.
    #[serde(deserialize_with = "accord_upstream::config::url")]
    pub url: String,
    /// The authorities that may vouch for auth's certificate, and the certificate that this binary shows to auth.
    /// Default: the system's, and none.
    #[serde(skip_serializing_if = "ClientTlsConfig::is_empty")]
    pub tls: ClientTlsConfig,
    /// The name under which this binary logs in. No default.
    #[serde(deserialize_with = "bound::text", skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// The secret of that client; better given as a file or by the environment. No default.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub client_secret: Secret,
    /// A file that holds the secret; white space around it is ignored. No default.
    #[serde(deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,
    /// The only accepted issuer. Default: `https://accord.local`.
    #[serde(deserialize_with = "bound::text")]
    pub issuer: String,
    /// The audience of access tokens. Default: `accord`.
    #[serde(deserialize_with = "bound::text")]
    pub audience: String,
    /// How old the snapshot of revocations may be before every token is refused, 100ms to 1h. Default: `5s`.
    #[serde(with = "Time::<100, HOUR>")]
    pub staleness_bound: Duration,
    /// Most decisions remembered, 1 to 100000000. Default: 100000.
    #[serde(with = "Count::<1, 100_000_000>")]
    pub decision_memory: u64,
    /// Most tokens whose checked signature is remembered, 1 to 100000000. Default: 100000.
    #[serde(with = "Count::<1, 100_000_000>")]
    pub signature_memory: u64,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8090".to_owned(),
            tls: ClientTlsConfig::default(),
            client_id: String::new(),
            client_secret: Secret::default(),
            client_secret_file: None,
            issuer: "https://accord.local".to_owned(),
            audience: "accord".to_owned(),
            staleness_bound: Duration::from_secs(5),
            decision_memory: 100_000,
            signature_memory: 100_000,
        }
    }
}

/// The flags of every binary that verifies tokens.
#[derive(Clone, Debug, Default, Args)]
pub struct MeshFlags {
    /// Where auth is.
    #[arg(long, global = true, value_name = "URL")]
    auth: Option<String>,
    /// The name under which this binary logs in to auth.
    #[arg(long, global = true, value_name = "ID")]
    client_id: Option<String>,
    /// File with the secret that goes with the name.
    #[arg(long, global = true, value_name = "FILE")]
    client_secret_file: Option<String>,
}

impl MeshFlags {
    /// The values that they give to keys.
    #[must_use]
    pub fn override_keys(&self, overrides: Overrides) -> Overrides {
        overrides
            .set_option("auth.url", "--auth", self.auth.clone())
            .set_option("auth.client_id", "--client-id", self.client_id.clone())
            .set_option("auth.client_secret_file", "--client-secret-file", self.client_secret_file.clone())
    }
}

impl MeshConfig {
    /// What contradicts itself. Its keys begin with `auth`.
    pub fn contradictions(&self) -> Vec<Invalid> {
        let as_upstream = self.upstream().contradictions().into_iter().map(|invalid| match &*invalid.key {
            "urls.0" => Invalid { key: "url".to_owned(), ..invalid },
            _ => invalid,
        });
        let twice = (self.client_secret_file.is_some() && !self.client_secret.is_empty()).then(|| {
            let problem = "the secret is given here and in `auth.client_secret`";
            Invalid::new("client_secret_file", problem, "leave one of them out")
        });
        as_upstream.chain(twice).map(|invalid| invalid.under("auth")).collect()
    }

    /// What of the identity is missing, and which files can't be used. Its keys begin with `auth`.
    pub fn unusable(&self) -> Vec<Invalid> {
        let identity = self.identity().err().map(|error| Invalid::of(error.key(), error));
        identity.into_iter().chain(self.upstream().unusable()).map(|invalid| invalid.under("auth")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_secret_given_twice_is_refused() {
        let once = MeshConfig { client_secret: "secret".into(), ..MeshConfig::default() };
        assert_eq!(once.contradictions(), []);
        let twice = MeshConfig { client_secret_file: Some("secret".into()), ..once };
        let keys: Vec<_> = twice.contradictions().into_iter().map(|invalid| invalid.key).collect();
        assert_eq!(keys, ["auth.client_secret_file"]);
    }
}
