//! What is counted about a listener's connections.

use std::net::SocketAddr;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, UpDownCounter},
};

use crate::{
    declared_metrics::{
        CONNECTIONS_ACCEPTED, CONNECTIONS_OPEN, CONNECTIONS_REFUSED, FLOODS, HANDSHAKES_FAILED, PROXY_HEADERS_FAILED,
    },
    telemetry,
};

/// Counts a connection as open for as long as it lives, whatever ends it.
pub(super) struct Open(Figures);

impl Open {
    pub(super) fn count(figures: Figures) -> Self {
        figures.accepted.add(1, &figures.labels);
        figures.open.add(1, &figures.labels);
        Self(figures)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.add(-1, &self.0.labels);
    }
}

/// What is counted about a listener's connections.
#[derive(Clone)]
pub(super) struct Figures {
    pub(super) open: UpDownCounter<i64>,
    pub(super) accepted: Counter<u64>,
    pub(super) refused: Counter<u64>,
    pub(super) handshakes_failed: Counter<u64>,
    pub(super) proxy_headers_failed: Counter<u64>,
    pub(super) floods: Counter<u64>,
    /// The listener's port, which bounds the label to the few listeners a process has.
    pub(super) labels: [KeyValue; 1],
}

impl Figures {
    pub(super) fn new(address: SocketAddr) -> Self {
        let meter = telemetry::meter();
        Self {
            open: CONNECTIONS_OPEN.up_down_counter(&meter),
            accepted: CONNECTIONS_ACCEPTED.counter(&meter),
            refused: CONNECTIONS_REFUSED.counter(&meter),
            handshakes_failed: HANDSHAKES_FAILED.counter(&meter),
            proxy_headers_failed: PROXY_HEADERS_FAILED.counter(&meter),
            floods: FLOODS.counter(&meter),
            labels: [KeyValue::new("network.local.port", i64::from(address.port()))],
        }
    }
}
