//! Admission: what a caller asks for, the deadline of its call, and only headers that may come in.

use crate::{
    fault::{Component, Fault},
    protocol::{RequestOptions, WireProtocol},
};
use accord_api::accord::fault::v1::Reason;
use accord_runtime::{deadline::Deadline, request::RequestId, server::Peer};
use accord_upstream::metadata::is_reserved;
use http::{HeaderMap, HeaderName, Request, header, request::Parts};
use hyper::body::Incoming;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// A request that may come in.
pub(crate) struct Arrival {
    /// What the caller asks for.
    pub options: RequestOptions,
    /// The head, without anything that only our own hops may say.
    pub parts: Parts,
    /// The body, untouched.
    pub body: Incoming,
    /// The request's id.
    pub id: RequestId,
    /// Where it came from.
    pub address: IpAddr,
}

/// Takes out of the head of a request what may not come from outside, and reads what the caller asks for.
pub(crate) fn admit(protocol: WireProtocol, request: Request<Incoming>) -> Result<Arrival, Fault> {
    let (mut parts, body) = request.into_parts();
    clean(&mut parts.headers)?;
    let options = protocol.admit(&parts)?;
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let address = parts.extensions.get::<Peer>().map_or(unknown, |peer| peer.address).ip();
    let id = parts.extensions.get::<RequestId>().cloned().unwrap_or_default();
    Ok(Arrival { options, parts, body, id, address })
}

/// Removes our own namespace and refuses what two readers could read differently.
fn clean(headers: &mut HeaderMap) -> Result<(), Fault> {
    if headers.get_all(header::AUTHORIZATION).iter().nth(1).is_some() {
        return Err(refused("`authorization` came more than once; send one"));
    }
    let named = connection_headers(headers);
    let removed: Vec<_> = headers.keys().filter(|name| is_reserved(name) || named.contains(name)).cloned().collect();
    for name in removed {
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

/// The deadline of a call: the shorter of what its caller gives it and what its contract caps; else the default.
pub(crate) fn deadline(policy: &accord_contract::Deadline, options: &RequestOptions) -> Result<Deadline, Fault> {
    match options.timeout? {
        Some(Duration::ZERO) => Err(Fault::deadline()),
        timeout => Ok(Deadline::after(timeout.map_or(policy.default, |timeout| timeout.min(policy.max)))),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn reserved_and_connection_headers_are_removed() {
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
    fn repeated_authorization_is_invalid_argument() {
        let mut headers = HeaderMap::new();
        headers.append(header::AUTHORIZATION, "Bearer a".parse().unwrap());
        headers.append(header::AUTHORIZATION, "Bearer b".parse().unwrap());
        assert_eq!(clean(&mut headers).unwrap_err().status().code(), Code::InvalidArgument);
    }
}
