//! Which of the caller's headers become metadata of the call to the upstream.

use accord_runtime::request;
use http::{HeaderMap, HeaderName, header};

/// Where an API key may stand as well as in `authorization`.
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Ends at each hop (RFC 9110, 7.6.1), or is set anew by it.
const OWN: [HeaderName; 18] = [
    API_KEY,
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    HeaderName::from_static("grpc-timeout"),
    header::HOST,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("request-timeout"),
    header::TE,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    request::HEADER,
];

const COMPRESSION: [HeaderName; 2] =
    [HeaderName::from_static("grpc-encoding"), HeaderName::from_static("grpc-accept-encoding")];

/// The metadata of the call to the upstream: what its protocol has for metadata, without what ends here. Where the gateway
/// reads the answer itself, it asks for it uncompressed. What is left stays where it came in: nothing is copied.
pub(crate) fn inward(mut headers: HeaderMap, is_metadata: fn(&HeaderName) -> bool, is_read: bool) -> HeaderMap {
    for name in OWN.iter().chain(COMPRESSION.iter().filter(|_| is_read)) {
        headers.remove(name);
    }
    let others: Vec<_> = headers.keys().filter(|name| !is_metadata(name)).cloned().collect();
    for name in others {
        headers.remove(name);
    }
    accord_upstream::make_room(&mut headers);
    headers
}

/// Say something about an HTTP exchange that the upstream does not take part in.
const OF_THE_EXCHANGE: [&str; 13] = [
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
    "range",
    "referer",
];

/// Whether a header says something about an HTTP exchange that the upstream does not take part in.
pub(crate) fn is_of_the_exchange(name: &HeaderName) -> bool {
    OF_THE_EXCHANGE.contains(&name.as_str()) || name.as_str().starts_with("sec-")
}

/// Whether a caller's header of this name never reaches an upstream, in some protocol.
pub(crate) fn ends_here(name: &HeaderName) -> bool {
    OWN.contains(name) || COMPRESSION.contains(name) || is_of_the_exchange(name)
}

/// The headers of these names. A contract names none that may not travel.
pub(crate) fn only(headers: &HeaderMap, names: &[Box<str>]) -> HeaderMap {
    let is_named = |name: &HeaderName| names.iter().any(|named| **named == *name.as_str());
    headers.iter().filter(|(name, _)| is_named(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn kept(is_metadata: fn(&HeaderName) -> bool, is_read: bool) -> Vec<String> {
        let headers = HeaderMap::from_iter(
            ["authorization", "x-api-key", "te", "accept", "idempotency-key", "grpc-encoding", "tenant-hint"]
                .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("v"))),
        );
        let metadata = inward(headers, is_metadata, is_read);
        // What each hop sets itself has another value than the caller's.
        let kept = metadata.iter().filter(|(_, value)| *value == "v");
        let mut names: Vec<_> = kept.map(|(name, _)| name.as_str().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn credential_and_hop_by_hop_headers_do_not_travel() {
        assert_eq!(kept(|_| true, false), ["accept", "grpc-encoding", "idempotency-key", "tenant-hint"]);
    }

    #[test]
    fn compression_does_not_travel_where_the_answer_is_read() {
        assert_eq!(kept(|_| true, true), ["accept", "idempotency-key", "tenant-hint"]);
    }

    #[test]
    fn header_that_is_no_metadata_of_its_protocol_does_not_travel() {
        assert_eq!(kept(|name| name != "accept", true), ["idempotency-key", "tenant-hint"]);
    }

    #[test]
    fn named_headers_are_kept_with_all_their_values() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("accept-language", "de"), ("x-market", "eu"), ("accept-language", "en")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let left = only(&headers, &["accept-language".into(), "etag".into()]);
        assert_eq!(left.get_all("accept-language").iter().collect::<Vec<_>>(), ["de", "en"]);
        assert_eq!(left.keys_len(), 1);
    }
}
