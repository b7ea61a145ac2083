//! What is counted about a listener's connections.

use std::net::SocketAddr;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, UpDownCounter},
};

use crate::telemetry;

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
            open: meter.i64_up_down_counter("accord.connections.open").with_description("Open connections").build(),
            accepted: meter.u64_counter("accord.connections.accepted").with_description("Accepted connections").build(),
            refused: meter
                .u64_counter("accord.connections.refused")
                .with_description("Connections that were closed at once, since their address has its share of them")
                .build(),
            handshakes_failed: meter
                .u64_counter("accord.tls.handshakes.failed")
                .with_description("TLS handshakes that failed or took too long")
                .build(),
            proxy_headers_failed: meter
                .u64_counter("accord.connections.proxy_headers.failed")
                .with_description(
                    "Connections that were closed for a PROXY protocol header that is missing or can't be read",
                )
                .build(),
            floods: meter
                .u64_counter("accord.connections.floods")
                .with_description("Connections that were ended for too many HTTP/2 control frames")
                .build(),
            labels: [KeyValue::new("network.local.port", i64::from(address.port()))],
        }
    }
}
