//! What can be set about a port that is listened on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    address::Address,
    config::{
        Invalid,
        bound::{Count, DAY, HOUR, Time},
    },
    tls::TlsConfig,
};

/// How a port is listened on. It is read over the defaults of its binary, whose addresses differ, and over no others. A port
/// that need not be listened on has an `Option` for its address.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig<A = Address> {
    /// Address and port, or host name and port; a port alone, `:8080`, is all interfaces. Port 0 takes a free one. Each binary
    /// has defaults of its own.
    pub address: A,
    /// Certificates. Default none: plaintext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Whether each connection begins with a header of the PROXY protocol, version 2, by which a load balancer in front tells the
    /// address of whoever opened it: that is then the peer's address. A connection without the header is closed, and whoever can
    /// connect is believed, so let nobody but the balancer. Default false.
    pub proxy_protocol: bool,
    /// Connections at a time, 1 to 1000000; more wait in the kernel's backlog. One address (of IPv6 a network of 64 bits) has at
    /// most half of them, and less while others hold theirs; its further ones are closed. Default 10000.
    #[serde(with = "Count::<1, 1_000_000>")]
    pub max_connections: usize,
    /// Calls at a time on one HTTP/2 connection, 1 to 1000000; a client waits with more. Default 100.
    #[serde(with = "Count::<1, 1_000_000>")]
    pub max_streams: u32,
    /// Bytes of one request's headers, 1024 to 16777216; more is refused. Default 16384.
    #[serde(with = "Count::<1_024, 16_777_216>")]
    pub max_header_bytes: u32,
    /// Time for the header of the PROXY protocol, for the TLS handshake, for the first bytes, and for the next request's
    /// headers in HTTP/1.1; then the connection is cut. A load balancer in front that keeps idle HTTP/1.1 connections has to
    /// let go of them earlier. 1ms to 1h. Default 10s.
    #[serde(with = "Time::<1, HOUR>")]
    pub header_timeout: Duration,
    /// Age at which a connection is asked to go (GOAWAY), so that load spreads to new replicas, by chance up to a tenth
    /// earlier; 1ms to 365days. Default 30m.
    #[serde(with = "Time::<1, { 365 * DAY }>")]
    pub max_connection_age: Duration,
    /// Time that calls in flight have after that; then the connection is cut. 1ms to 24h.
    /// Default 5m.
    #[serde(with = "Time::<1, DAY>")]
    pub max_connection_age_grace: Duration,
    /// Silence on an HTTP/2 connection or a WebSocket after which the peer is pinged, 1ms to 24h. Default 30s.
    #[serde(with = "Time::<1, DAY>")]
    pub keepalive_interval: Duration,
    /// Time for the answer to a ping, 1ms to 1h; then the connection is cut. Default 10s.
    #[serde(with = "Time::<1, HOUR>")]
    pub keepalive_timeout: Duration,
}

impl Default for ListenConfig {
    /// A free port of this machine.
    fn default() -> Self {
        Self::at(Address::local(0))
    }
}

impl Default for ListenConfig<Option<Address>> {
    /// No port.
    fn default() -> Self {
        Self::at(None)
    }
}

impl<A> ListenConfig<A> {
    fn at(address: A) -> Self {
        Self {
            address,
            tls: None,
            proxy_protocol: false,
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

    /// What of its files can't be used.
    pub fn unusable(&self) -> Option<Invalid> {
        self.tls.as_ref()?.check().err().map(|refused| refused.under("tls"))
    }
}

impl ListenConfig<Option<Address>> {
    /// How the port is listened on, where it has an address.
    pub fn given(self) -> Option<ListenConfig> {
        let Self {
            address,
            tls,
            proxy_protocol,
            max_connections,
            max_streams,
            max_header_bytes,
            header_timeout,
            max_connection_age,
            max_connection_age_grace,
            keepalive_interval,
            keepalive_timeout,
        } = self;
        Some(ListenConfig {
            address: address?,
            tls,
            proxy_protocol,
            max_connections,
            max_streams,
            max_header_bytes,
            header_timeout,
            max_connection_age,
            max_connection_age_grace,
            keepalive_interval,
            keepalive_timeout,
        })
    }
}

impl ListenConfig {
    /// A port of this machine alone, which is what binaries listen on as long as nothing else is said.
    pub fn local(port: u16) -> Self {
        Self { address: Address::local(port), ..Self::default() }
    }

    /// Refuses an admin port that can't be listened on beside this one.
    pub(crate) fn contradictions(&self, admin: &Self) -> Option<Invalid> {
        self.address.overlaps(&admin.address).then(|| {
            let problem = format!("{} is taken by `listen.address`, which is {}", admin.address, self.address);
            Invalid::new("admin.address", problem, "give the two different ports")
        })
    }
}
