//! How a binary finds auth, and which tokens it accepts.

use std::{path::PathBuf, time::Duration};

use accord_runtime::config::Secret;
use serde::{Deserialize, Serialize};

/// The section `[auth]` of every binary that verifies tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MeshConfig {
    /// Where auth is. Default: `http://127.0.0.1:8090`.
    pub url: String,
    /// A PEM file with the authorities that may vouch for auth's certificate. Default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// A PEM file with the certificate that this binary shows to auth. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// A PEM file with that certificate's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The name under which this binary logs in. No default.
    pub client_id: String,
    /// The secret of that client; better given as a file or by the environment. No default.
    pub client_secret: Secret,
    /// A file that holds the secret; white space around it is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,
    /// The only accepted issuer. Default: `https://accord.local`.
    pub issuer: String,
    /// The audience of access tokens. Default: `accord`.
    pub audience: String,
    /// How old the snapshot of revocations may be before every token is refused. Default: `5s`.
    #[serde(with = "humantime_serde")]
    pub staleness_bound: Duration,
    /// Most decisions remembered. Default: 100000.
    pub decision_memory: u64,
    /// Most tokens whose checked signature is remembered. Default: 100000.
    pub signature_memory: u64,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8090".to_owned(),
            ca_file: None,
            cert_file: None,
            key_file: None,
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
