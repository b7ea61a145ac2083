//! Command lines whose people approve them in a browser.

use std::time::Duration;

use accord_runtime::config::bound::{self, Count, Time};
use serde::{Deserialize, Serialize};

/// `[oauth.device]`: the device authorization grant (RFC 8628).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceConfig {
    /// The ids of clients that may ask for codes. They prove nothing: people are shown them, and decide. Default: none, and then nobody
    /// gets a code.
    #[serde(deserialize_with = "bound::texts", skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<String>,
    /// How long a code waits to be approved, 1m to 30m. Default: `10m`.
    #[serde(with = "Time::<60_000, { 30 * 60_000 }>")]
    pub lifetime: Duration,
    /// How often at most a client asks whether its code was approved, 1s to 1m. Default: `5s`.
    #[serde(with = "Time::<1_000, 60_000>")]
    pub interval: Duration,
    /// Codes that wait at once, 2 to 100000, of which one address gets no more than half. Default: 1000.
    #[serde(with = "Count::<2, 100_000>")]
    pub max_pending: usize,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        let (lifetime, interval) = (Duration::from_mins(10), Duration::from_secs(5));
        Self { clients: Vec::new(), lifetime, interval, max_pending: 1000 }
    }
}
