//! What seals the store, and signs.

use std::{path::PathBuf, time::Duration};

use accord_runtime::config::{
    Secret,
    bound::{self, DAY, Time},
};
use accord_token::{Algorithm, claims::LEEWAY};
use serde::{Deserialize, Serialize};

/// `[keys]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeysConfig {
    /// The key that seals private keys in the store: 32 bytes, base64url. Better given as a file. No default.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub encryption_key: Secret,
    /// A file with that key. No default.
    #[serde(deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub encryption_key_file: Option<PathBuf>,
    /// Another key, accepted beside the first one while one takes the other's place: what it sealed is read, and nothing new is
    /// sealed with it. Better given as a file. No default.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub accepted_encryption_key: Secret,
    /// A file with that other key. No default.
    #[serde(deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub accepted_encryption_key_file: Option<PathBuf>,
    /// What new keys sign with: `EdDSA` or `ES256`. Default: `EdDSA`.
    pub algorithm: Algorithm,
    /// How long a key is published before it signs: at least the verifiers' staleness bound and the 10 s by which clocks
    /// may differ; 10001ms to 24h. Default: `15s`.
    #[serde(with = "Time::<{ 1_000 * LEEWAY.as_secs() + 1 }, DAY>")]
    pub publish_before_signing: Duration,
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self {
            encryption_key: Secret::default(),
            encryption_key_file: None,
            accepted_encryption_key: Secret::default(),
            accepted_encryption_key_file: None,
            algorithm: Algorithm::EdDsa,
            publish_before_signing: Duration::from_secs(15),
        }
    }
}
