//! Outlier detection by failure percentage (gRFC A50): an endpoint whose calls fail far more often than they should is ejected,
//! even where some of them succeed.

use std::cmp::Reverse;
use std::sync::Arc;

use tokio::time::Instant;

use crate::config::OutlierConfig;
use crate::endpoint::Endpoint;
use crate::record::Counts;

/// Judges the calls of the interval that ends, and begins another one.
pub(crate) fn judge(endpoints: &[Arc<Endpoint>], config: &OutlierConfig, now: Instant) {
    let counted = endpoints.iter().map(|endpoint| (endpoint, endpoint.take_counts()));
    let counted: Vec<_> = counted.filter(|(_, counts)| counts.total() >= config.request_volume).collect();
    if counted.len() >= config.minimum_hosts {
        eject_worst(endpoints, counted, config, now);
    }
    for endpoint in endpoints {
        endpoint.end_interval(now);
    }
}

/// Ejects those that fail too many calls, the worst first, for as long as fewer are ejected than may be.
fn eject_worst(
    endpoints: &[Arc<Endpoint>],
    mut counted: Vec<(&Arc<Endpoint>, Counts)>,
    config: &OutlierConfig,
    now: Instant,
) {
    counted.retain(|(endpoint, counts)| counts.fails_beyond(config.failure_percentage) && !endpoint.is_ejected(now));
    counted.sort_by_key(|(_, counts)| Reverse(counts.failure_rate()));
    let ejected = endpoints.iter().filter(|endpoint| endpoint.is_ejected(now)).count();
    let may_be = |ejected: &usize| ejected * 100 < config.max_ejection_percent * endpoints.len();
    for ((endpoint, _), _) in counted.into_iter().zip((ejected..).take_while(may_be)) {
        endpoint.eject_outlier(config.base_ejection_time, config.max_ejection_time);
    }
}

impl Counts {
    fn total(self) -> u32 {
        self.succeeded.saturating_add(self.failed)
    }

    /// Whether more than this percentage failed.
    fn fails_beyond(self, percentage: u32) -> bool {
        u64::from(self.failed) * 100 > u64::from(self.total()) * u64::from(percentage)
    }

    /// The failed ones of a million.
    fn failure_rate(self) -> u64 {
        u64::from(self.failed) * 1_000_000 / u64::from(self.total().max(1))
    }
}
