//! The section `[upstream.adaptive]`.

use std::time::Duration;

use accord_runtime::config::bound::{Count, HOUR, Time};
use serde::{Deserialize, Serialize};

/// The section `[upstream.adaptive]`: fewer calls may wait for answers of an upstream while these take longer because of a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptiveConfig {
    /// Whether there is such a limit. Default: true.
    pub enabled: bool,
    /// Calls that may wait in any case, 1 to 1000000; no more than `max_in_flight`. Fewer are never refused, however long
    /// answers take. Default: 10.
    #[serde(with = "Count::<1, 1_000_000>")]
    pub min_in_flight: usize,
    /// Time to an answer that is never taken for a queue, 1ms to 1h. Default: 20 ms.
    #[serde(with = "Time::<1, HOUR>")]
    pub latency: Duration,
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self { enabled: true, min_in_flight: 10, latency: Duration::from_millis(20) }
    }
}
