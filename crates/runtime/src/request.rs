//! What travels along with a call from hop to hop: its id, its deadline and its trace.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use uuid::Uuid;

use crate::{deadline::Deadline, trace};

/// The header that carries a call's id.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

const LONGEST: usize = 128;

/// A call's id: the caller's where it is 1 to 128 visible ASCII characters, else a UUID of version 7.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new id that sorts by time.
    pub fn new() -> Self {
        Self(Uuid::now_v7().hyphenated().to_string().into())
    }

    /// The id that the caller chose, or a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        headers.get(HEADER).and_then(|value| Self::parse(value.as_bytes())).unwrap_or_default()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let fits = (1..=LONGEST).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
        fits.then(|| std::str::from_utf8(bytes).ok().map(|text| Self(text.into())))?
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a header value.
    pub fn header(&self) -> HeaderValue {
        // Only visible ASCII gets in, and all of it may stand in a header.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
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
    fn the_callers_id_is_kept_where_it_is_plain() {
        assert_eq!(id_from("order-17").as_str(), "order-17");
        for refused in ["", "two words", "tab\there"] {
            assert!(Uuid::parse_str(id_from(refused).as_str()).is_ok(), "{refused:?} became an id");
        }
        let long = HeaderValue::from_str(&"x".repeat(129)).unwrap();
        assert_eq!(RequestId::of(&HeaderMap::from_iter([(HEADER, long)])).as_str().len(), 36);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_hop_gets_what_is_left_of_the_deadline() {
        let deadline = Deadline::after(Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(2)).await;
        let request = outbound((), deadline, &RequestId::of(&HeaderMap::new()));
        assert_eq!(request.metadata().get("grpc-timeout").unwrap(), "3000000u");
        assert!(request.metadata().contains_key("x-request-id"));
    }
}
