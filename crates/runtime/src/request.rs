//! Request propagation from hop to hop: request id, deadline and trace context.

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};

pub use crate::request_id::{HEADER, RequestId};
use crate::{call_record::CallRecord, deadline::Deadline, request_id::never_indexed, trace, trace_context};

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// A request to the next hop with what travels along: `grpc-timeout`, `x-request-id` and the current span's trace.
pub fn outbound<T>(message: T, deadline: Deadline, id: &RequestId) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let mut headers = std::mem::take(request.metadata_mut()).into_headers();
    carry(&mut headers, deadline, id);
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    request
}

/// Sets the headers that [`carry`] writes, so that it finds room for them.
pub fn make_room(headers: &mut HeaderMap) {
    for name in [TIMEOUT, HEADER, trace_context::PARENT] {
        headers.insert(name, HeaderValue::from_static(""));
    }
}

/// Writes what travels along into the headers of a request to the next hop.
pub fn carry(headers: &mut HeaderMap, deadline: Deadline, id: &RequestId) {
    headers.insert(TIMEOUT, never_indexed(deadline.grpc_timeout()));
    headers.insert(HEADER, id.header());
    trace::inject(headers);
}

/// The id of the call that a request belongs to; a new one where nobody observes it.
pub fn id(extensions: &Extensions) -> RequestId {
    extensions.get::<CallRecord>().and_then(CallRecord::request_id).cloned().unwrap_or_default()
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

    #[test]
    fn what_never_repeats_is_never_indexed() {
        let mut headers = HeaderMap::new();
        carry(&mut headers, Deadline::after(Duration::from_secs(1)), &RequestId::new());
        for name in ["x-request-id", "grpc-timeout"] {
            assert!(headers[name].is_sensitive(), "{name}");
        }
    }

    #[test]
    fn room_that_nothing_is_written_to_is_given_back() {
        let mut headers = HeaderMap::new();
        make_room(&mut headers);
        carry(&mut headers, Deadline::after(Duration::from_secs(1)), &RequestId::new());
        assert!(headers.values().all(|value| !value.is_empty()), "{headers:?}");
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
