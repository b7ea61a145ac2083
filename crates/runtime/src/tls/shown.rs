//! Metrics of when certificates end.

use std::{path::Path, time::SystemTime};

use opentelemetry::{KeyValue, metrics::Gauge};

use super::{expiry, files::certificates};
use crate::{
    declared_metrics::{CERTIFICATE_EXPIRY, SVID_EXPIRY},
    telemetry,
};

/// Shows when certificates end: an alert before that is all there is against it.
pub(super) struct Expiry(Gauge<f64>);

impl Expiry {
    pub(super) fn gauge() -> Self {
        Self(CERTIFICATE_EXPIRY.gauge_f64(&telemetry::meter()))
    }

    /// The chain in a file is good until the first of it ends.
    pub(super) fn show(&self, file: &Path) {
        let ends = certificates(file).unwrap_or_default().iter().filter_map(|it| expiry::not_after(it)).min();
        if let Some(since) = ends.and_then(|ends| ends.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            self.0.record(since.as_secs_f64(), &[KeyValue::new("file", file.display().to_string())]);
        }
    }
}

/// The same of X.509-SVIDs: they live for an hour or so, and are renewed halfway, so that other alerts are due.
pub(super) struct SvidExpiry(Gauge<f64>);

impl SvidExpiry {
    pub(super) fn gauge() -> Self {
        Self(SVID_EXPIRY.gauge_f64(&telemetry::meter()))
    }

    pub(super) fn show(&self, (id, ends): (&str, SystemTime)) {
        let since = ends.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.0.record(since.as_secs_f64(), &[KeyValue::new("spiffe_id", id.to_owned())]);
    }
}
