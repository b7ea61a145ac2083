//! What auth counts.

use accord_runtime::telemetry;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, UpDownCounter},
};

use crate::declared_metrics::{
    DECISIONS, DEVICES_PENDING, LOGINS, OAUTH_REQUESTS, SHADOW_DECISIONS, SNAPSHOT_STREAMS, TOKENS,
};

/// Counters; none carries a name of anybody.
pub(crate) struct Metrics {
    logins: Counter<u64>,
    decisions: Counter<u64>,
    shadow_decisions: Counter<u64>,
    tokens: Counter<u64>,
    streams: UpDownCounter<i64>,
    oauth: Counter<u64>,
    pending_devices: Gauge<u64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let meter = telemetry::meter();
        Self {
            logins: LOGINS.counter(&meter),
            decisions: DECISIONS.counter(&meter),
            shadow_decisions: SHADOW_DECISIONS.counter(&meter),
            tokens: TOKENS.counter(&meter),
            streams: SNAPSHOT_STREAMS.up_down_counter(&meter),
            oauth: OAUTH_REQUESTS.counter(&meter),
            pending_devices: DEVICES_PENDING.gauge(&meter),
        }
    }
}

impl Metrics {
    /// Somebody logged in, or failed to.
    pub(crate) fn login(&self, outcome: &'static str) {
        self.logins.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// Policy decided.
    pub(crate) fn decision(&self, allowed: bool) {
        self.decisions.add(1, &[KeyValue::new("allowed", allowed)]);
    }

    /// Policies that are only tried would have decided that.
    pub(crate) fn shadow_decision(&self, is_allowed: bool, would_be: bool) {
        let difference = match (is_allowed, would_be) {
            (false, true) => "would_allow",
            (true, false) => "would_deny",
            _ => "none",
        };
        self.shadow_decisions.add(1, &[KeyValue::new("difference", difference)]);
    }

    /// A token was issued.
    pub(crate) fn token(&self, token_type: &'static str) {
        self.tokens.add(1, &[KeyValue::new("type", token_type)]);
    }

    /// An endpoint of OAuth answered.
    pub(crate) fn oauth(&self, endpoint: &'static str, error: &'static str) {
        self.oauth.add(1, &[KeyValue::new("endpoint", endpoint), KeyValue::new("error", error)]);
    }

    /// So many devices wait to be approved.
    pub(crate) fn pending_devices(&self, count: u64) {
        self.pending_devices.record(count, &[]);
    }

    /// A verifier came (1) or went (-1).
    pub(crate) fn watcher(&self, change: i64) {
        self.streams.add(change, &[]);
    }
}
