//! Request propagation from hop to hop: request id, deadline and trace context.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use uuid::{Uuid, fmt::Hyphenated};

use crate::{deadline::Deadline, trace};

/// The header that carries a call's id.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

const LONGEST: usize = 128;

/// A call's id: the caller's where it is 1 to 128 visible ASCII characters, else a UUID of version 7.
///
/// It is kept as the header that it came in and goes out in, since every hop and every answer carries it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// A new id that sorts by time.
    pub fn new() -> Self {
        let mut text = [0; Hyphenated::LENGTH];
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        // Hexadecimal digits and hyphens may stand in a header.
        Self(HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("none")))
    }

    /// The id that the caller chose, or a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let fits = |value: &&HeaderValue| {
            (1..=LONGEST).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        headers.get(HEADER).filter(fits).cloned().map_or_else(Self::new, Self)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Only visible ASCII gets in.
        self.0.to_str().unwrap_or_default()
    }

    /// The id as a header value.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A request to the next hop with what travels along: `grpc-timeout`, `x-request-id` and the current span's trace.
pub fn outbound<T>(message: T, deadline: Deadline, id: &RequestId) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let mut headers = std::mem::take(request.metadata_mut()).into_headers();
    carry(&mut headers, deadline, id);
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    request
}

/// Writes what travels along into the headers of a request to the next hop.
pub fn carry(headers: &mut HeaderMap, deadline: Deadline, id: &RequestId) {
    headers.insert("grpc-timeout", deadline.grpc_timeout());
    headers.insert(HEADER, id.header());
    trace::inject(headers);
}

/// A bearer credential as `authorization` metadata; `None` when the token can't stand in a header.
pub fn bearer(token: &str) -> Option<AsciiMetadataValue> {
    let mut value = AsciiMetadataValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id_from(value: &'static str) -> RequestId {
        RequestId::of(&HeaderMap::from_iter([(HEADER, HeaderValue::from_static(value))]))
    }

    #[test]
    fn request_id_of_the_caller_is_kept_where_it_is_plain() {
        assert_eq!(id_from("order-17").as_str(), "order-17");
        for refused in ["", "two words", "tab\there"] {
            assert!(Uuid::parse_str(id_from(refused).as_str()).is_ok(), "{refused:?} became an id");
        }
        let long = HeaderValue::from_str(&"x".repeat(129)).unwrap();
        assert_eq!(RequestId::of(&HeaderMap::from_iter([(HEADER, long)])).as_str().len(), 36);
    }

    #[tokio::test(start_paused = true)]
    async fn outbound_request_carries_the_remaining_deadline() {
        let deadline = Deadline::after(Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(2)).await;
        let request = outbound((), deadline, &RequestId::of(&HeaderMap::new()));
        assert_eq!(request.metadata().get("grpc-timeout").unwrap(), "3000000u");
        assert!(request.metadata().contains_key("x-request-id"));
    }
}
