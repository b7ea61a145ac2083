//! How old this binary's knowledge of revocations is, beside the bound on it.

use std::{sync::Arc, time::Duration};

use accord_runtime::telemetry;

use crate::declared_metrics::{REVOCATIONS_AGE, REVOCATIONS_AGE_LIMIT};
use crate::snapshot::LatestSnapshot;

/// Shows the age of the snapshot for as long as it lives, and the age at which every token is refused.
pub(crate) fn observe(latest: &Arc<LatestSnapshot>, bound: Duration) {
    let (meter, latest) = (telemetry::meter(), Arc::downgrade(latest));
    REVOCATIONS_AGE.observe_f64(&meter, move |gauge| {
        if let Some(latest) = latest.upgrade() {
            gauge.observe(latest.age().as_secs_f64(), &[]);
        }
    });
    REVOCATIONS_AGE_LIMIT.gauge_f64(&meter).record(bound.as_secs_f64(), &[]);
}
