//! What comes in, made plain: which protocol, which request, how long it may take, and only headers that may come in.

use crate::{
    fault::{Component, Fault},
    protocol::Protocol,
};
use accord_api::accord::fault::v1::Reason;
use accord_runtime::{
    deadline::{Deadline, parse_grpc_timeout},
    request::RequestId,
    server::Peer,
};
use accord_upstream::metadata::is_reserved;
use http::{HeaderMap, HeaderName, Request, header, request::Parts};
use hyper::body::Incoming;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// A request that may come in.
pub(crate) struct Arrival {
    /// How the caller speaks.
    pub protocol: Protocol,
    /// The head, without anything that only our own hops may say.
    pub parts: Parts,
    /// The body, untouched.
    pub body: Incoming,
    /// The request's id.
    pub id: RequestId,
    /// Where it came from.
    pub address: IpAddr,
}

/// Looks at the head of a request and takes out what may not come from outside.
pub(crate) fn admit(request: Request<Incoming>) -> Result<Arrival, Fault> {
    let protocol = Protocol::of(&request);
    let (mut parts, body) = request.into_parts();
    protocol.check(&parts)?;
    clean(&mut parts.headers)?;
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let address = parts.extensions.get::<Peer>().map_or(unknown, |peer| peer.address).ip();
    let id = parts.extensions.get::<RequestId>().cloned().unwrap_or_default();
    Ok(Arrival { protocol, parts, body, id, address })
}

/// Removes our own namespace and refuses what two readers could read differently.
fn clean(headers: &mut HeaderMap) -> Result<(), Fault> {
    if headers.get_all(header::AUTHORIZATION).iter().nth(1).is_some() {
        return Err(refused("`authorization` came more than once; send one"));
    }
    let named = connection_headers(headers);
    let strangers: Vec<_> = headers.keys().filter(|name| is_reserved(name) || named.contains(name)).cloned().collect();
    for name in strangers {
        if name == header::AUTHORIZATION {
            return Err(refused("`authorization` is named in `connection`; leave it out there"));
        }
        headers.remove(name);
    }
    Ok(())
}

fn refused(message: &str) -> Fault {
    Fault::new(Component::Gateway, Reason::HeaderRefused, message)
}

fn connection_headers(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// The deadline of a call: the shorter of what it wishes and what its contract caps; without a wish, the default.
pub(crate) fn deadline(policy: &accord_contract::Deadline, arrival: &Arrival) -> Result<Deadline, Fault> {
    let wish = match arrival.protocol {
        Protocol::Grpc => timeout(&arrival.parts.headers, "grpc-timeout", |text| parse_grpc_timeout(text).ok())?,
        Protocol::Json => timeout(&arrival.parts.headers, "request-timeout", parse_seconds)?,
    };
    match wish {
        Some(Duration::ZERO) => Err(Fault::deadline()),
        wish => Ok(Deadline::after(wish.map_or(policy.default, |wish| wish.min(policy.max)))),
    }
}

fn timeout(
    headers: &HeaderMap,
    name: &'static str,
    parse: fn(&str) -> Option<Duration>,
) -> Result<Option<Duration>, Fault> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().ok().and_then(parse).map(Some).ok_or_else(|| malformed(name)),
        (Some(_), Some(_)) => Err(malformed(name)),
    }
}

fn malformed(name: &str) -> Fault {
    let form = match name {
        "grpc-timeout" => "1 to 8 digits and one of H M S m u n, such as `300m`",
        _ => "seconds with at most nine decimals, such as `0.3`",
    };
    let message = format!("`{name}` must come once and be {form}");
    Fault::new(Component::Gateway, Reason::TimeoutMalformed, message)
}

/// Seconds as `12` or `0.3`.
fn parse_seconds(text: &str) -> Option<Duration> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole, 8) || !digits(decimals, 9) {
        return None;
    }
    let nanoseconds: u32 = format!("{decimals:0<9}").parse().ok()?;
    Some(Duration::new(whole.parse().ok()?, nanoseconds))
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn request_timeout_is_seconds_with_decimals() {
        assert_eq!(parse_seconds("0.3"), Some(Duration::from_millis(300)));
        assert_eq!(parse_seconds("12"), Some(Duration::from_secs(12)));
        for bad in ["", ".", ".3", "1.", "-1", "+1", "1e3", "1.0000000001", "123456789", " 1"] {
            assert_eq!(parse_seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn our_own_headers_do_not_come_in() {
        let mut headers = HeaderMap::new();
        for name in ["x-accord-passport", "x_accord_passport", "x-accord_tenant", "x-hop", "x-kept"] {
            headers.insert(HeaderName::from_static(name), "1".parse().unwrap());
        }
        headers.insert(header::CONNECTION, "close, X-Hop".parse().unwrap());
        clean(&mut headers).unwrap();
        let left: std::collections::BTreeSet<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["connection", "x-kept"].into());
    }

    #[test]
    fn a_second_authorization_is_refused() {
        let mut headers = HeaderMap::new();
        headers.append(header::AUTHORIZATION, "Bearer a".parse().unwrap());
        headers.append(header::AUTHORIZATION, "Bearer b".parse().unwrap());
        assert_eq!(clean(&mut headers).unwrap_err().status().code(), Code::InvalidArgument);
    }
}
