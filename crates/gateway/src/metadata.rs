//! Which of the caller's headers become metadata of the call to the upstream.

use http::{HeaderMap, HeaderName};

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

/// The metadata of the call to the upstream: what its protocol has for metadata, without what ends here. Where the gateway
/// reads the answer itself, it asks for it uncompressed.
pub(crate) fn inward(headers: &HeaderMap, is_metadata: fn(&HeaderName) -> bool, is_read: bool) -> HeaderMap {
    let mut metadata = HeaderMap::with_capacity(headers.len() + 6);
    for (name, value) in headers {
        let ends_here = OWN.binary_search(&name.as_str()).is_ok() || (is_read && is_compression(name));
        if !ends_here && is_metadata(name) {
            metadata.append(name.clone(), value.clone());
        }
    }
    metadata
}

/// The headers of these names. A contract names none that may not travel.
pub(crate) fn only(headers: &HeaderMap, names: &[Box<str>]) -> HeaderMap {
    let is_named = |name: &HeaderName| names.iter().any(|named| **named == *name.as_str());
    headers.iter().filter(|(name, _)| is_named(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn is_compression(name: &HeaderName) -> bool {
    matches!(name.as_str(), "grpc-encoding" | "grpc-accept-encoding")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn kept(is_metadata: fn(&HeaderName) -> bool, is_read: bool) -> Vec<String> {
        assert!(OWN.is_sorted());
        let headers = HeaderMap::from_iter(
            ["authorization", "te", "accept", "idempotency-key", "grpc-encoding", "tenant-hint"]
                .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("v"))),
        );
        let metadata = inward(&headers, is_metadata, is_read);
        let mut names: Vec<_> = metadata.keys().map(|name| name.as_str().to_owned()).collect();
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
