//! Which of the caller's headers travel inward, and which of an upstream's reach an HTTP caller.

use crate::protocol::Protocol;
use http::{HeaderMap, HeaderName, header};

/// Carries the key under which a mutation may be repeated.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Ends at each hop (RFC 9110, 7.6.1), or is set anew by it.
const OWN: [&str; 17] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "grpc-timeout",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "request-timeout",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// Says something about an HTTP exchange that the upstream does not take part in.
const HTTP_ONLY: [&str; 12] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "cache-control",
    "content-encoding",
    "cookie",
    "expect",
    "if-match",
    "if-none-match",
    "origin",
    "pragma",
    "referer",
];

/// The metadata of the inner call. Where the gateway reads the answer itself, it asks for it uncompressed.
pub(crate) fn inward(headers: &HeaderMap, protocol: Protocol, is_read: bool) -> HeaderMap {
    let mut metadata = HeaderMap::with_capacity(headers.len() + 6);
    for (name, value) in headers {
        if travels(name, protocol) && !(is_read && is_compression(name)) {
            metadata.append(name.clone(), value.clone());
        }
    }
    metadata
}

fn travels(name: &HeaderName, protocol: Protocol) -> bool {
    if OWN.binary_search(&name.as_str()).is_ok() {
        return false;
    }
    protocol == Protocol::Grpc
        || !(HTTP_ONLY.contains(&name.as_str())
            || name.as_str().starts_with("sec-")
            || name.as_str().starts_with("grpc-")
            || name == header::RANGE)
}

/// The headers of these names. A contract names none that may not travel.
pub(crate) fn only(headers: &HeaderMap, names: &[Box<str>]) -> HeaderMap {
    let is_named = |name: &HeaderName| names.iter().any(|named| **named == *name.as_str());
    headers.iter().filter(|(name, _)| is_named(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Adds an upstream's metadata to an HTTP response. What it says of the encoding of bytes holds only where the body is passed
/// on as it is (`google.api.HttpBody`).
pub(crate) fn outward(metadata: &HeaderMap, is_passed_on: bool, response: &mut HeaderMap) {
    for (name, value) in metadata {
        let is_own = name.as_str().starts_with("grpc-") || *name == header::CONTENT_TYPE;
        if !is_own && (is_passed_on || *name != header::CONTENT_ENCODING) {
            response.append(name.clone(), value.clone());
        }
    }
}

fn is_compression(name: &HeaderName) -> bool {
    matches!(name.as_str(), "grpc-encoding" | "grpc-accept-encoding")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_credential_stays_and_the_rest_travels() {
        assert!(OWN.is_sorted());
        let headers = HeaderMap::from_iter(
            ["authorization", "te", "accept", "idempotency-key", "grpc-encoding", "tenant-hint", "grpc-trace-bin"]
                .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("v"))),
        );
        let kept = |protocol, is_read| {
            let metadata = inward(&headers, protocol, is_read);
            let mut names: Vec<_> = metadata.keys().map(|name| name.as_str().to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(kept(Protocol::Json, true), ["idempotency-key", "tenant-hint"]);
        let all = ["accept", "grpc-encoding", "grpc-trace-bin", "idempotency-key", "tenant-hint"];
        assert_eq!(kept(Protocol::Grpc, false), all);
        assert_eq!(kept(Protocol::Grpc, true), ["accept", "grpc-trace-bin", "idempotency-key", "tenant-hint"]);
    }

    #[test]
    fn content_encoding_of_an_upstream_is_kept_only_for_a_body_that_is_passed_on() {
        let metadata = HeaderMap::from_iter(
            ["content-encoding", "content-type", "grpc-encoding", "etag"]
                .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("gzip"))),
        );
        let told = |is_passed_on| {
            let mut response = HeaderMap::new();
            outward(&metadata, is_passed_on, &mut response);
            let mut names: Vec<_> = response.keys().map(|name| name.as_str().to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(told(false), ["etag"]);
        assert_eq!(told(true), ["content-encoding", "etag"]);
    }

    #[test]
    fn only_named_headers_are_left_with_all_their_values() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("accept-language", "de"), ("x-market", "eu"), ("accept-language", "en")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let left = only(&headers, &["accept-language".into(), "etag".into()]);
        assert_eq!(left.get_all("accept-language").iter().collect::<Vec<_>>(), ["de", "en"]);
        assert_eq!(left.keys_len(), 1);
    }
}
