//! W3C trace context as headers carry it: `traceparent` and `tracestate`, in and out.

use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::request_id::never_indexed;

pub(crate) const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// The caller's span that the headers name; none where they name none that is valid. Of the flags, only whether it is sampled is
/// read.
pub(crate) fn read(headers: &HeaderMap) -> Option<SpanContext> {
    let text = headers.get(PARENT)?.as_bytes();
    if !is_well_formed(text) {
        return None;
    }
    let trace = TraceId::from_bytes(bytes(text.get(3..35)?));
    let span = SpanId::from_bytes(bytes(text.get(36..52)?));
    let [flags] = bytes(text.get(53..LENGTH)?);
    let state = headers.get(STATE).and_then(|state| TraceState::from_str(state.to_str().ok()?).ok());
    let context =
        SpanContext::new(trace, span, TraceFlags::new(flags) & TraceFlags::SAMPLED, true, state.unwrap_or_default());
    (context.is_valid() && !text.starts_with(b"ff")).then_some(context)
}

/// Writes a span as the parent of the next hop's.
pub(crate) fn write(context: &SpanContext, headers: &mut HeaderMap) {
    // Every call has another one.
    headers.insert(PARENT, never_indexed(parent(context)));
    // An empty tracestate says nothing, so it isn't sent.
    let state = Some(context.trace_state().header()).filter(|state| !state.is_empty());
    if let Some(state) = state.and_then(|state| HeaderValue::try_from(state).ok()) {
        headers.insert(STATE, never_indexed(state));
    }
}

fn parent(context: &SpanContext) -> HeaderValue {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    let sampled = (context.trace_flags() & TraceFlags::SAMPLED).to_u8();
    let fields: [(usize, &[u8]); 3] =
        [(3, &context.trace_id().to_bytes()), (36, &context.span_id().to_bytes()), (53, &[sampled])];
    for (start, bytes) in fields {
        for (byte, pair) in bytes.iter().zip(text[start..].chunks_exact_mut(2)) {
            pair.copy_from_slice(&digits(*byte));
        }
    }
    // Digits and hyphens may stand in a header.
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
}

/// A byte as two lower-case hexadecimal digits.
pub(crate) fn digits(byte: u8) -> [u8; 2] {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
    [digit(byte >> 4), digit(byte & 15)]
}

/// The bytes that so many pairs of lower-case digits stand for.
fn bytes<const N: usize>(digits: &[u8]) -> [u8; N] {
    let value = |digit: u8| if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |byte, digit| byte << 4 | value(*digit));
    }
    bytes
}

/// Whether a `traceparent` has the form of W3C's Trace Context, section 3.2. A later version may say more after a hyphen.
fn is_well_formed(traceparent: &[u8]) -> bool {
    let in_form = |(place, byte): (usize, &u8)| match place {
        2 | 35 | 52 | LENGTH => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    let complete = traceparent.len() == LENGTH || traceparent.len() > LENGTH && !traceparent.starts_with(b"00");
    complete && traceparent.iter().take(LENGTH + 1).enumerate().all(in_form)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn written(given: &'static str) -> Option<String> {
        let context = read(&HeaderMap::from_iter([(PARENT, HeaderValue::from_static(given))]))?;
        let mut headers = HeaderMap::new();
        write(&context, &mut headers);
        Some(headers[PARENT].to_str().unwrap().to_owned())
    }

    #[test]
    fn traceparent_is_written_as_it_was_read() {
        let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        for given in [GIVEN, unsampled] {
            assert_eq!(written(given).as_deref(), Some(given));
        }
    }

    #[test]
    fn traceparent_of_a_later_version_is_written_as_of_ours() {
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes-later";
        assert_eq!(written(later).as_deref(), Some(GIVEN));
    }

    #[test]
    fn flag_that_is_not_known_is_left_out() {
        let flags = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff";
        assert_eq!(written(flags).as_deref(), Some(GIVEN));
    }

    #[test]
    fn invalid_traceparent_is_none() {
        for invalid in [
            "nonsense",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert_eq!(written(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn tracestate_is_written_as_it_was_read() {
        let given = [("traceparent", GIVEN), ("tracestate", "vendor=one,other=two")];
        let given = HeaderMap::from_iter(given.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())));
        let mut headers = HeaderMap::new();
        write(&read(&given).unwrap(), &mut headers);
        assert_eq!(headers, given);
    }

    #[test]
    fn trace_context_is_never_indexed() {
        let mut headers = HeaderMap::new();
        write(&read(&HeaderMap::from_iter([(PARENT, HeaderValue::from_static(GIVEN))])).unwrap(), &mut headers);
        assert!(headers[PARENT].is_sensitive());
    }
}
