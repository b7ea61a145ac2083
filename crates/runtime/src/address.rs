//! Where a server listens.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Unexpected},
};
use tokio::net::{TcpListener, lookup_host};

/// An address to listen on: `127.0.0.1:8080`, `localhost:8080`, or `:8080` for all interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// IPv6 and IPv4, or IPv4 where the machine has no IPv6.
    AllInterfaces,
    /// One address, or 0.0.0.0 or `[::]`. The port in it is the address's.
    Socket(SocketAddr),
    /// A name, which is resolved when it is listened on.
    Name(String),
}

/// What is no address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not {EXPECTED}")]
pub struct NoAddress;

const EXPECTED: &str = "a host and a port, such as 127.0.0.1:8080, localhost:8080, or :8080 for all interfaces";

impl Address {
    /// A port of this machine alone. Port 0 is a free one.
    pub fn local(port: u16) -> Self {
        SocketAddr::from(([127, 0, 0, 1], port)).into()
    }

    /// The port as it was given.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the two can't be listened on together, as far as that shows without resolving names.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (one, two) = (self.host.ip(), other.host.ip());
        let is_all = |ip: Option<IpAddr>| ip.is_some_and(|ip| ip.is_unspecified());
        let is_same = if one.is_some() { one == two } else { self.host == other.host };
        self.port != 0 && self.port == other.port && (is_same || is_all(one) || is_all(two))
    }

    pub(crate) async fn bind(&self) -> io::Result<TcpListener> {
        match &self.host {
            Host::AllInterfaces => {
                let all = [SocketAddr::from(([0; 8], self.port)), SocketAddr::from(([0, 0, 0, 0], self.port))];
                TcpListener::bind(&all[..]).await
            }
            Host::Socket(address) => TcpListener::bind(address).await,
            Host::Name(name) => {
                let mut found: Vec<_> = lookup_host((name.as_str(), self.port)).await?.collect();
                // Where a name has both, most clients try or know IPv4 alone.
                found.sort_by_key(SocketAddr::is_ipv6);
                TcpListener::bind(&found[..]).await
            }
        }
    }
}

impl Host {
    /// The IP address, where none has to be looked up. An IPv4 address is one in IPv6 too (RFC 4291, 2.5.5.2), and localhost
    /// is always this machine (RFC 6761, 6.3), by IPv4 first.
    fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::AllInterfaces => Some(Ipv6Addr::UNSPECIFIED.into()),
            Self::Socket(address) => Some(address.ip().to_canonical()),
            Self::Name(name) => name.eq_ignore_ascii_case("localhost").then_some(Ipv4Addr::LOCALHOST.into()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self { host: Host::Socket(address), port: address.port() }
    }
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(address.into());
        }
        let (host, port) = text.rsplit_once(':').ok_or(NoAddress)?;
        let port = if port.bytes().all(|byte| byte.is_ascii_digit()) { port.parse().ok() } else { None };
        let is_name = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        // What begins as a number was meant as an IP address, and is none.
        let host = match host {
            "" => Host::AllInterfaces,
            name if is_name(name) && !name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
                Host::Name(name.to_owned())
            }
            _ => return Err(NoAddress),
        };
        Ok(Self { host, port: port.ok_or(NoAddress)? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::AllInterfaces => write!(formatter, ":{}", self.port),
            Host::Socket(address) => address.fmt(formatter),
            Host::Name(name) => write!(formatter, "{name}:{}", self.port),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Visitor)
    }
}

struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = Address;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Address, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn address_of_each_form_is_shown_as_it_was_given() {
        for text in ["127.0.0.1:8080", "[::1]:1", "localhost:1", ":8080", "a-b.example:65535", "0.0.0.0:0"] {
            assert_eq!(address(text).to_string(), text);
        }
    }

    #[test]
    fn address_without_a_usable_host_and_port_is_refused() {
        for text in
            ["", "8080", "localhost", "localhost:", ":x", ":65536", ":-1", ":+1", "127.0.0:1", "a b:1", "http://a:1"]
        {
            assert_eq!(text.parse::<Address>(), Err(NoAddress), "{text}");
        }
    }

    #[test]
    fn addresses_overlap_where_ports_are_equal_and_a_host_includes_the_other() {
        for (one, other) in [
            (":1", "127.0.0.1:1"),
            ("0.0.0.0:1", "localhost:1"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("localhost:1", "127.0.0.1:1"),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1"),
            ("[::ffff:127.0.0.1]:1", "LOCALHOST:1"),
            ("a.example:1", "a.example:1"),
        ] {
            assert!(address(one).overlaps(&address(other)), "{one} {other}");
            assert!(address(other).overlaps(&address(one)), "{other} {one}");
        }
        for (one, other) in [
            (":1", ":2"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("127.0.0.1:1", "127.0.0.2:1"),
            ("a.example:1", "b.example:1"),
            ("a.example:1", "127.0.0.1:1"),
        ] {
            assert!(!address(one).overlaps(&address(other)), "{one} {other}");
        }
    }

    #[tokio::test]
    async fn name_and_all_interfaces_are_bound() {
        for text in ["localhost:0", ":0"] {
            let socket = address(text).bind().await.unwrap();
            assert_ne!(socket.local_addr().unwrap().port(), 0, "{text}");
        }
    }

    #[tokio::test]
    async fn name_of_this_machine_is_reached_by_ipv4() {
        assert!(address("localhost:0").bind().await.unwrap().local_addr().unwrap().is_ipv4());
    }
}
