//! What can be set about a port that is listened on.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{config::bound, tls::TlsConfig};

/// How a port is listened on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenConfig {
    /// Address and port. Port 0 takes a free one. Default 127.0.0.1:0.
    pub address: SocketAddr,
    /// Certificates. Default none: plaintext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Connections at a time; more wait in the kernel's backlog. Default 10000.
    #[serde(deserialize_with = "bound::positive")]
    pub max_connections: usize,
    /// Calls at a time on one HTTP/2 connection; a client waits with more. Default 100.
    #[serde(deserialize_with = "bound::positive")]
    pub max_streams: u32,
    /// Bytes of one request's headers; more is refused. Default 16384.
    #[serde(deserialize_with = "bound::positive")]
    pub max_header_bytes: u32,
    /// Time for the TLS handshake, for the first bytes, and for the next request's headers in HTTP/1.1; then the
    /// connection is cut. A load balancer in front that keeps idle HTTP/1.1 connections has to let go of them earlier.
    /// Default 10s.
    #[serde(with = "bound::duration")]
    pub header_timeout: Duration,
    /// Age at which a connection is asked to go (GOAWAY), so that load spreads to new replicas. Default 30m.
    #[serde(with = "bound::duration")]
    pub max_connection_age: Duration,
    /// Time that calls in flight have after that; then the connection is cut. Default 5m.
    #[serde(with = "bound::duration")]
    pub max_connection_age_grace: Duration,
    /// Silence on an HTTP/2 connection after which the peer is pinged. Default 30s.
    #[serde(with = "bound::duration")]
    pub keepalive_interval: Duration,
    /// Time for the answer to a ping; then the connection is cut. Default 10s.
    #[serde(with = "bound::duration")]
    pub keepalive_timeout: Duration,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            max_connections: 10_000,
            max_streams: 100,
            max_header_bytes: 16 * 1024,
            header_timeout: Duration::from_secs(10),
            max_connection_age: Duration::from_mins(30),
            max_connection_age_grace: Duration::from_mins(5),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}
