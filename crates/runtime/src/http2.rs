//! HTTP/2: what RFC 9113 asks of a server and h2 leaves to it.

use http::{
    HeaderMap, HeaderValue, Request,
    header::HOST,
    uri::{Authority, Scheme},
};

/// Why a request is malformed, if it is.
pub(crate) fn problem<R>(request: &Request<R>) -> Option<&'static str> {
    if request.headers().values().any(is_padded) {
        return Some("a header's value begins or ends with a space (RFC 9113, 8.2.1)\n");
    }
    let (uri, headers) = (request.uri(), request.headers());
    if !headers.contains_key(HOST) || names_one_host(uri.authority(), uri.scheme(), headers) {
        return None;
    }
    Some("`host` has to come once, and to name what `:authority` does (RFC 9113, 8.3.1)\n")
}

fn is_padded(value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.as_bytes().first()) || is_space(value.as_bytes().last())
}

/// Two readers of whom one goes by `host` and the other by `:authority` must not take a request for different ones.
fn names_one_host(authority: Option<&Authority>, scheme: Option<&Scheme>, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter().map(|host| Authority::try_from(host.as_bytes()));
    let (Some(Ok(host)), None) = (hosts.next(), hosts.next()) else { return false };
    let usual = if scheme == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let place = |authority: &Authority| (authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(usual));
    !host.as_str().contains('@') && authority.is_none_or(|authority| place(authority) == place(&host))
}
