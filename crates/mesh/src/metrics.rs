//! How old this binary's knowledge of revocations is, beside the bound on it.

use std::{sync::Arc, time::Duration};

use accord_runtime::telemetry;

use crate::snapshot::LatestSnapshot;

/// Shows the age of the snapshot for as long as it lives, and the age at which every token is refused.
pub(crate) fn observe(latest: &Arc<LatestSnapshot>, bound: Duration) {
    let (meter, latest) = (telemetry::meter(), Arc::downgrade(latest));
    // The meter provider keeps the callback; the handle that comes back is for nobody.
    meter
        .f64_observable_gauge("accord.revocations.age")
        .with_unit("s")
        .with_description("How old what is known of revocations is")
        .with_callback(move |gauge| {
            if let Some(latest) = latest.upgrade() {
                gauge.observe(latest.age().as_secs_f64(), &[]);
            }
        })
        .build();
    meter
        .f64_gauge("accord.revocations.age.limit")
        .with_unit("s")
        .with_description("The age of what is known of revocations from which on every token is refused")
        .build()
        .record(bound.as_secs_f64(), &[]);
}
