//! Who a call comes from. What a caller writes of it is taken out; what the gateway knows, or is told by the proxies that it
//! trusts, takes its place.

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
};

use http::{HeaderMap, HeaderName, HeaderValue};

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What else upstreams take for the word of whoever stands in front of them: of addresses, of the method, of what was asked for.
const OTHERS: [&str; 18] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "fastly-client-ip",
    "forwarded",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-arr-clientcert",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
    "x-spiffe-id",
];

/// How names begin by which proxies tell of forwarding, and of the certificate of a caller (RFC 9440, nginx, AWS).
const BEGINNINGS: [&str; 6] =
    ["x-forwarded", "client-cert", "x-client-cert", "ssl-client-", "x-ssl-client-", "x-amzn-mtls-"];

/// The connection that a call came by.
pub(super) struct Connection<'a> {
    pub(super) peer: IpAddr,
    pub(super) is_tls: bool,
    /// The host that was asked for.
    pub(super) host: Option<&'a str>,
    /// How many proxies before the peer, itself included, are believed.
    pub(super) trusted_hops: usize,
}

/// What the upstream is told of a call's way.
#[derive(Clone)]
struct Told {
    caller: IpAddr,
    list: HeaderValue,
    forwarded: HeaderValue,
    proto: HeaderValue,
    host: Option<HeaderValue>,
}

/// Callers without a proxy between whom a thread remembers.
const PLACES: usize = 32;

thread_local! {
    /// What was told of calls that came without a trusted proxy: the same for all calls of a connection that ask for one host.
    static RECENT: RefCell<[Option<(bool, Told)>; PLACES]> = const { RefCell::new([const { None }; PLACES]) };
}

impl Connection<'_> {
    /// Replaces what the headers say of the call's way, and returns the address of its caller.
    pub(super) fn replace(&self, headers: &mut HeaderMap) -> IpAddr {
        let told = if self.trusted_hops == 0 { self.remembered() } else { self.told(headers) };
        let removed: Vec<_> = headers.keys().filter(|name| is_about_forwarding(name)).cloned().collect();
        for name in removed {
            headers.remove(name);
        }
        headers.insert(FOR, told.list);
        headers.insert(FORWARDED, told.forwarded);
        headers.insert(PROTO, told.proto);
        if let Some(host) = told.host {
            headers.insert(HOST, host);
        }
        told.caller
    }

    fn remembered(&self) -> Told {
        let place = self.place();
        let is_same = |(is_tls, told): &&(bool, Told)| {
            *is_tls == self.is_tls
                && told.caller == self.peer
                && told.host.as_ref().map(HeaderValue::as_bytes) == self.host.map(str::as_bytes)
        };
        let found = RECENT.with_borrow(|places| {
            places.get(place).and_then(Option::as_ref).filter(is_same).map(|(_, told)| told.clone())
        });
        found.unwrap_or_else(|| {
            let told = self.told(&HeaderMap::new());
            RECENT.with_borrow_mut(|places| {
                if let Some(place) = places.get_mut(place) {
                    *place = Some((self.is_tls, told.clone()));
                }
            });
            told
        })
    }

    /// By the end of the address, where neighbours differ.
    fn place(&self) -> usize {
        let end = match self.peer {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[15],
        };
        usize::from(end) % PLACES
    }

    fn told(&self, headers: &HeaderMap) -> Told {
        let mut way = self.believed(headers);
        let caller = way.first().copied().unwrap_or(self.peer);
        way.push(self.peer);
        let said = |name: &HeaderName| headers.get(name).filter(|_| self.trusted_hops > 0).cloned();
        let proto = said(&PROTO).filter(|value| *value == "http" || *value == "https");
        let proto = proto.unwrap_or(HeaderValue::from_static(if self.is_tls { "https" } else { "http" }));
        let host = said(&HOST).or_else(|| HeaderValue::from_str(self.host?).ok());
        let list = way.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
        let forwarded = forwarded(&way, &proto, host.as_ref());
        // Addresses, and a host that is a header's value, may stand in a header.
        let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"));
        Told { caller, list: value(list), forwarded: value(forwarded), proto, host }
    }

    /// The addresses that the trusted hops wrote, the caller's first. Each hop wrote the address of its own peer at the end.
    fn believed(&self, headers: &HeaderMap) -> Vec<IpAddr> {
        let lines: Vec<_> = headers.get_all(&FOR).iter().filter_map(|line| line.to_str().ok()).collect();
        let written = lines.iter().rev().flat_map(|line| line.rsplit(','));
        let mut believed: Vec<_> = written.take(self.trusted_hops).map_while(|text| address(text.trim())).collect();
        believed.reverse();
        believed
    }
}

/// An address, which some proxies write with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// In either spelling: a server that maps `_` to `-` would take one for the other.
fn is_about_forwarding(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    let is = |other: &str| name.len() == other.len() && starts(name, other);
    BEGINNINGS.iter().any(|with| starts(name, with)) || OTHERS.iter().any(|other| is(other))
}

fn starts(name: &[u8], with: &str) -> bool {
    let pairs = || name.iter().zip(with.bytes());
    name.len() >= with.len() && pairs().all(|(given, ours)| *given == ours || (*given == b'_' && ours == b'-'))
}

/// RFC 7239.
fn forwarded(way: &[IpAddr], proto: &HeaderValue, host: Option<&HeaderValue>) -> String {
    let node = |address: &IpAddr| match address {
        IpAddr::V4(address) => format!("for={address}"),
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    };
    let is_plain = |text: &&str| !text.contains(['"', '\\']);
    let host = host.and_then(|host| host.to_str().ok()).filter(is_plain);
    let host = host.map(|host| format!(";host=\"{host}\"")).unwrap_or_default();
    let mut nodes: Vec<_> = way.iter().map(node).collect();
    if let Some(first) = nodes.first_mut() {
        *first = format!("{first}{host};proto={}", proto.to_str().unwrap_or("http"));
    }
    nodes.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(trusted_hops: usize, given: &[(&'static str, &'static str)]) -> (IpAddr, HeaderMap) {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let peer = IpAddr::from([10, 0, 0, 9]);
        let connection = Connection { peer, is_tls: true, host: Some("shop.example"), trusted_hops };
        let caller = connection.replace(&mut headers);
        (caller, headers)
    }

    #[test]
    fn forwarding_headers_of_a_caller_are_replaced_by_its_own_address() {
        let given = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x_forwarded_for", "1.1.1.1"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-port", "1"),
            ("x_forwarded_client_cert", "URI=spiffe://prod.example/root"),
            ("x-spiffe-id", "spiffe://prod.example/root"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("x-http-method-override", "DELETE"),
            ("x-original-url", "/admin"),
            ("cf_connecting_ip", "1.1.1.1"),
            ("x-forwarded-client-cert", "URI=spiffe://evil"),
            ("client-cert", ":AAAA:"),
            ("client-cert-chain", ":AAAA:"),
            ("ssl-client-verify", "SUCCESS"),
            ("x-ssl-client-s-dn", "CN=evil"),
            ("x-amzn-mtls-clientcert-subject", "CN=evil"),
            ("x-kept", "1"),
        ];
        let (caller, headers) = replaced(0, &given);
        assert_eq!(caller, IpAddr::from([10, 0, 0, 9]));
        let mut left: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        left.sort_unstable();
        let expected = [
            ("forwarded", "for=10.0.0.9;host=\"shop.example\";proto=https"),
            ("x-forwarded-for", "10.0.0.9"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-proto", "https"),
            ("x-kept", "1"),
        ];
        assert_eq!(left, expected);
    }

    #[test]
    fn callers_that_differ_in_address_scheme_or_host_are_told_apart() {
        let told = |end, is_tls, host| {
            let mut headers = HeaderMap::new();
            let connection = Connection { peer: IpAddr::from([10, 0, 0, end]), is_tls, host, trusted_hops: 0 };
            connection.replace(&mut headers);
            headers["forwarded"].to_str().unwrap().to_owned()
        };
        for _ in 0..2 {
            assert_eq!(told(7, true, Some("a.example")), "for=10.0.0.7;host=\"a.example\";proto=https");
            assert_eq!(told(7, false, Some("a.example")), "for=10.0.0.7;host=\"a.example\";proto=http");
            assert_eq!(told(7, true, Some("b.example")), "for=10.0.0.7;host=\"b.example\";proto=https");
            assert_eq!(told(7, true, None), "for=10.0.0.7;proto=https");
            // In the same place as the one above.
            assert_eq!(told(39, true, None), "for=10.0.0.39;proto=https");
        }
    }

    #[test]
    fn trusted_hop_names_the_caller_and_nothing_before_it_is_believed() {
        let given =
            [("x-forwarded-for", "6.6.6.6, 7.7.7.7"), ("x-forwarded-proto", "http"), ("x-forwarded-host", "a.example")];
        let (caller, headers) = replaced(1, &given);
        assert_eq!(caller, IpAddr::from([7, 7, 7, 7]));
        assert_eq!(headers["x-forwarded-for"], "7.7.7.7, 10.0.0.9");
        assert_eq!(headers["forwarded"], "for=7.7.7.7;host=\"a.example\";proto=http, for=10.0.0.9");
    }

    #[test]
    fn several_trusted_hops_are_counted_from_the_nearest_over_all_lines() {
        let given = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "[2001:db8::1]:80, 7.7.7.7:5")];
        assert_eq!(replaced(2, &given).0, "2001:db8::1".parse::<IpAddr>().unwrap());
        assert_eq!(replaced(9, &given).0, IpAddr::from([6, 6, 6, 6]));
    }

    #[test]
    fn trusted_hop_that_names_no_address_is_the_caller() {
        for given in [&[][..], &[("x-forwarded-for", "unknown")], &[("x-forwarded-for", "6.6.6.6, unknown")]] {
            assert_eq!(replaced(2, given).0, IpAddr::from([10, 0, 0, 9]), "{given:?}");
        }
    }
}
