//! Configuration of the catalog: one tree of plain data, every key with its unit and default.

use std::{path::PathBuf, time::Duration};

use accord_mesh::MeshConfig;
use accord_runtime::{
    config::{
        Configuration, Invalid,
        bound::{self, Count, HOUR, Time},
    },
    server::ListenConfig,
    telemetry::TelemetryConfig,
};
use serde::{Deserialize, Serialize};

/// The catalog's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where products are served. Default address: 127.0.0.1:9000.
    pub listen: ListenConfig,
    /// The admin port: metrics and health. Default address: 127.0.0.1:9001.
    pub admin: ListenConfig,
    /// The SQLite file with the products; made where there is none. Default: `catalog.db`.
    #[serde(deserialize_with = "bound::file")]
    pub store: PathBuf,
    /// Where passports are verified. Default: none, and every call is served; for development on one machine only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<MeshConfig>,
    /// Logs, metrics and traces.
    pub telemetry: TelemetryConfig,
    /// How long calls in flight may take to end after a signal to stop, 1ms to 1h. Default: 10 s.
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
            listen: ListenConfig::local(9000),
            admin: ListenConfig::local(9001),
            store: "catalog.db".into(),
            auth: None,
            telemetry: TelemetryConfig::default(),
            grace: Duration::from_secs(10),
            workers: 0,
        }
    }
}

impl Configuration for Config {
    const PREFIX: &'static str = "ACCORD_CATALOG";

    fn contradictions(&self) -> Vec<Invalid> {
        self.auth.as_ref().map(MeshConfig::contradictions).unwrap_or_default()
    }
}

impl Config {
    /// What of the files that it names can't be used, or is missing.
    pub(crate) fn unusable(&self) -> Vec<Invalid> {
        let store = self.store.is_dir().then(|| {
            let problem = format!("{} is a directory", self.store.display());
            Invalid::new("store", problem, "name a file, which is made where there is none")
        });
        store.into_iter().chain(self.auth.iter().flat_map(MeshConfig::unusable)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_that_is_a_directory_is_refused() {
        let keys = |store: &str| {
            let unusable = Config { store: store.into(), ..Config::default() }.unusable();
            unusable.into_iter().map(|invalid| invalid.key).collect::<Vec<_>>()
        };
        assert_eq!(keys("/"), ["store"]);
        assert!(keys("nowhere.db").is_empty());
    }
}
