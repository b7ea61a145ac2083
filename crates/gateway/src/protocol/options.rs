//! What a caller asks for beside its message, parsed once.

use crate::fault::{Component, Fault};
use accord_api::accord::fault::v1::Reason;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::time::Duration;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a caller asks for. What is malformed is refused by the step that needs it, and by none where none does.
pub(crate) struct RequestOptions {
    /// The time that it gives the call.
    pub timeout: Result<Option<Duration>, Malformed>,
    /// Under which the call may be repeated (draft-ietf-httpapi-idempotency-key-header).
    pub idempotency_key: Result<Option<String>, Malformed>,
    /// How fresh an answer it requires beyond the contract.
    pub consistency: Option<Consistency>,
    /// Whether it repeats the call itself (gRFC A6).
    pub is_retried_by_caller: bool,
    /// Which of its headers are metadata of the call; the others are about the exchange with the gateway.
    pub is_metadata: fn(&HeaderName) -> bool,
}

/// How fresh an answer has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// As the origin says it now.
    Strong,
    /// No staler than this.
    MaxStaleness(Duration),
}

/// A header that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// The stable reason.
    pub reason: Reason,
    /// How it must be written.
    pub message: &'static str,
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::new(Component::Gateway, malformed.reason, malformed.message)
    }
}

impl RequestOptions {
    /// What is written alike in every protocol, with a timeout that is not. Nothing is retried, every header is metadata.
    pub(super) fn new(headers: &HeaderMap, timeout: Result<Option<Duration>, Malformed>) -> Self {
        Self {
            timeout,
            idempotency_key: idempotency_key(headers),
            consistency: consistency(headers),
            is_retried_by_caller: false,
            is_metadata: |_| true,
        }
    }
}

/// The value of a header that comes once at most, as `parse` reads it.
pub(super) fn single<T>(
    headers: &HeaderMap,
    name: &HeaderName,
    malformed: Malformed,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Malformed> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().ok().and_then(parse).map(Some).ok_or(malformed),
        (Some(_), Some(_)) => Err(malformed),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Malformed> {
    let message = "`Idempotency-Key` must come once and be 1 to 255 visible ASCII characters";
    single(headers, &IDEMPOTENCY_KEY, Malformed { reason: Reason::HeaderRefused, message }, |text| {
        let is_key = (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_key.then(|| text.to_owned())
    })
}

/// `Cache-Control` (RFC 9111): `no-cache` or `max-age=SECONDS`.
fn consistency(headers: &HeaderMap) -> Option<Consistency> {
    let text = headers.get(header::CACHE_CONTROL).map(HeaderValue::to_str)?.ok()?;
    text.split(',').map(str::trim).find_map(|directive| match directive.split_once('=') {
        None if directive.eq_ignore_ascii_case("no-cache") => Some(Consistency::Strong),
        Some((name, seconds)) if name.eq_ignore_ascii_case("max-age") => {
            Some(Consistency::MaxStaleness(Duration::from_secs(seconds.parse::<u32>().ok()?.into())))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &'static str) -> Option<Consistency> {
        consistency(&HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static(text))]))
    }

    #[test]
    fn cache_control_no_cache_asks_for_strong_consistency() {
        assert_eq!(asked("no-cache"), Some(Consistency::Strong));
    }

    #[test]
    fn cache_control_max_age_bounds_staleness() {
        assert_eq!(asked("no-transform, max-age=10"), Some(Consistency::MaxStaleness(Duration::from_secs(10))));
    }

    #[test]
    fn cache_control_that_says_nothing_of_freshness_asks_for_nothing() {
        for text in ["max-age=-1", "max-age=4294967296", "no-store"] {
            assert_eq!(asked(text), None, "{text}");
        }
    }
}
