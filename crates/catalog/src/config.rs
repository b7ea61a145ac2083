//! What the catalog can be told: one tree of plain data, every key with its unit and default.

use std::{path::PathBuf, time::Duration};

use accord_mesh::MeshConfig;
use accord_runtime::{server::ListenConfig, telemetry::TelemetryConfig};
use serde::{Deserialize, Serialize};

/// The prefix of environment variables, as in `ACCORD_CATALOG__LISTEN__ADDRESS`.
pub(crate) const PREFIX: &str = "ACCORD_CATALOG";

/// The catalog's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where products are served. Default address: 127.0.0.1:9000.
    pub listen: ListenConfig,
    /// The internal port: metrics and health. Default address: 127.0.0.1:9001.
    pub admin: ListenConfig,
    /// The SQLite file with the products; made where there is none. Default: `catalog.db`.
    pub store: PathBuf,
    /// Where passports are verified. Default: none, and every call is served; for development on one machine only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<MeshConfig>,
    /// Logs, metrics and traces.
    pub telemetry: TelemetryConfig,
    /// How long calls in flight may take to end after a signal to stop. Default: 10 s.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: listen_on(9000),
            admin: listen_on(9001),
            store: "catalog.db".into(),
            auth: None,
            telemetry: TelemetryConfig::default(),
            grace: Duration::from_secs(10),
        }
    }
}

fn listen_on(port: u16) -> ListenConfig {
    ListenConfig { address: ([127, 0, 0, 1], port).into(), ..ListenConfig::default() }
}
