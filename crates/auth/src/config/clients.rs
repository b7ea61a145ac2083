//! Programs whose secrets are in files.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// `[clients]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientsConfig {
    /// Files with the secrets of programs, by the programs' ids. When a file changes, what it says becomes the secret, and the earlier
    /// one is valid for another day, as with `client rotate`. A program that was never added is not added by it. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_files: BTreeMap<String, PathBuf>,
}
