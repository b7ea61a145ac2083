//! The section `[upstream.outlier_detection]`.

use std::time::Duration;

use accord_runtime::config::bound::{Count, DAY, HOUR, Time};
use serde::{Deserialize, Serialize};

/// When an endpoint is ejected because more of its calls fail than of the others' (gRFC A50).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutlierConfig {
    /// How often the calls of each endpoint are counted up and judged, 1ms to 1h. Default: 10 s.
    #[serde(with = "Time::<1, HOUR>")]
    pub interval: Duration,
    /// Failed calls, in percent, beyond which an endpoint is ejected, 0 to 100. With 100 none is. Default: 85.
    #[serde(with = "Count::<0, 100>")]
    pub failure_percentage: u32,
    /// Endpoints that must have had `request_volume` calls in the interval, or none is ejected, 1 to 1000. Default: 5.
    #[serde(with = "Count::<1, 1_000>")]
    pub minimum_hosts: usize,
    /// Calls that an endpoint must have had in the interval to be judged, 1 to 1000000. Default: 50.
    #[serde(with = "Count::<1, 1_000_000>")]
    pub request_volume: u32,
    /// Endpoints that may be ejected at a time for whatever reason, in percent, 0 to 100; when so many are, no further one is
    /// because of its failures. At least one may be, but with 0. Default: 10.
    #[serde(with = "Count::<0, 100>")]
    pub max_ejection_percent: usize,
    /// How long an endpoint is ejected the first time, 1ms to 24h; as much longer each further time. Default: 30 s.
    #[serde(with = "Time::<1, DAY>")]
    pub base_ejection_time: Duration,
    /// The longest time that an endpoint is ejected, 1ms to 24h. Default: 5 min.
    #[serde(with = "Time::<1, DAY>")]
    pub max_ejection_time: Duration,
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            failure_percentage: 85,
            minimum_hosts: 5,
            request_volume: 50,
            max_ejection_percent: 10,
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_mins(5),
        }
    }
}
