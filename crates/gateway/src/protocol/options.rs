//! What a caller asks for beside its message, parsed once.

pub(super) use crate::metadata::is_of_the_exchange;
use crate::{
    consistency_token::PassedTokens,
    fault::{Component, Fault},
};
use accord_api::accord::fault::v1::Reason;
use http::{HeaderMap, HeaderName, header};
use std::time::Duration;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a caller asks for. What is malformed is refused by the step that needs it, and by none where none does.
pub(crate) struct RequestOptions {
    /// The time that it gives the call.
    pub timeout: Result<Option<Duration>, Malformed>,
    /// Under which the call may be repeated (draft-ietf-httpapi-idempotency-key-header).
    pub idempotency_key: Result<Option<String>, Malformed>,
    /// What it asks of a cache.
    pub cache_control: CacheControl,
    /// Whether it repeats the call itself (gRFC A6).
    pub is_retried_by_caller: bool,
    /// Which of its headers are metadata of the call; the others are about the exchange with the gateway.
    pub is_metadata: fn(&HeaderName) -> bool,
}

/// What a caller asks of a cache, by `Cache-Control` and by consistency tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheControl {
    /// How fresh an answer has to be beyond the contract.
    pub consistency: Option<Consistency>,
    /// Whether only a stored answer will do (RFC 9111, 5.2.1.7).
    pub only_if_cached: bool,
    /// What the answer must not be older than.
    pub tokens: PassedTokens,
}

/// How fresh an answer has to be, the strictest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// As the origin says it now, and kept by nobody.
    Unstored,
    /// As the origin says it now.
    Strong,
    /// No older than this, and fresh for so long yet.
    Fresh { max_age: Duration, min_fresh: Option<Duration> },
}

impl Consistency {
    /// What meets both.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unstored, _) | (_, Self::Unstored) => Self::Unstored,
            (Self::Strong, _) | (_, Self::Strong) => Self::Strong,
            (Self::Fresh { max_age, min_fresh }, Self::Fresh { max_age: age, min_fresh: fresh }) => {
                Self::Fresh { max_age: max_age.min(age), min_fresh: min_fresh.max(fresh) }
            }
        }
    }
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
            cache_control: cache_control(headers),
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
    let message =
        "`Idempotency-Key` must come once and be 1 to 255 characters of ASCII: in quotes, or visible ones without";
    single(headers, &IDEMPOTENCY_KEY, Malformed { reason: Reason::HeaderRefused, message }, |text| {
        let key = match text.strip_prefix('"') {
            Some(rest) => quoted(rest)?,
            None => Some(text.to_owned()).filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))?,
        };
        (1..=255).contains(&key.len()).then_some(key)
    })
}

/// A string of a structured field (RFC 9651, 4.2.5) from after its first quote; parameters may follow it, of which none is known.
fn quoted(rest: &str) -> Option<String> {
    let (mut text, mut rest) = (String::with_capacity(rest.len()), rest.chars());
    loop {
        match rest.next()? {
            '"' => break,
            '\\' => text.push(rest.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            character @ ' '..='~' => text.push(character),
            _ => return None,
        }
    }
    let after = rest.as_str().trim_start_matches(' ');
    (after.is_empty() || after.starts_with(';')).then_some(text)
}

/// What meets every wish in `Cache-Control` (RFC 9111, 5.2.1), over all its field lines (RFC 9110, 5.3): `no-store`, `no-cache`,
/// the least `max-age`, the greatest `min-fresh`. `Pragma: no-cache` counts where there is no `Cache-Control` (RFC 9111, 5.4).
///
/// `max-stale` would accept more than the contract allows: it is not heeded, as a cache may choose.
fn cache_control(headers: &HeaderMap) -> CacheControl {
    let name = if headers.contains_key(header::CACHE_CONTROL) { header::CACHE_CONTROL } else { header::PRAGMA };
    let is_pragma = name == header::PRAGMA;
    let lines = headers.get_all(&name).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut asked = CacheControl::default();
    for (name, value) in lines.filter_map(directive) {
        if name.eq_ignore_ascii_case("only-if-cached") {
            asked.only_if_cached |= !is_pragma;
        }
        let required = requirement(name, value).filter(|required| !is_pragma || *required == Consistency::Strong);
        asked.consistency = asked.consistency.into_iter().chain(required).reduce(Consistency::and);
    }
    asked
}

/// A directive's name and its value.
fn directive(text: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(text).ok()?.trim();
    Some(text.split_once('=').unwrap_or((text, "")))
}

fn requirement(name: &str, value: &str) -> Option<Consistency> {
    match &*name.to_ascii_lowercase() {
        "no-store" => Some(Consistency::Unstored),
        "no-cache" => Some(Consistency::Strong),
        "max-age" => {
            Some(Consistency::Fresh { max_age: delta_seconds(value).unwrap_or(Duration::ZERO), min_fresh: None })
        }
        "min-fresh" => {
            let min_fresh = Some(delta_seconds(value).unwrap_or(Duration::MAX));
            Some(Consistency::Fresh { max_age: Duration::MAX, min_fresh })
        }
        _ => None,
    }
}

/// Seconds, in quotes or without (RFC 9111, 5.2). A number too large to be held is a long time (1.2.2); what is no number
/// asks for something that nobody can know, and the strictest reading is the safe one.
fn delta_seconds(value: &str) -> Option<Duration> {
    let digits = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(digits.parse().unwrap_or(u32::MAX).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn asked(lines: &[&'static str]) -> Option<Consistency> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CACHE_CONTROL, HeaderValue::from_static(line));
        }
        cache_control(&headers).consistency
    }

    fn max_staleness(seconds: u64) -> Consistency {
        Consistency::Fresh { max_age: Duration::from_secs(seconds), min_fresh: None }
    }

    #[test]
    fn cache_control_no_cache_asks_for_strong_consistency() {
        assert_eq!(asked(&["no-cache"]), Some(Consistency::Strong));
    }

    #[test]
    fn cache_control_no_cache_wins_wherever_it_stands() {
        for lines in [&["max-age=60, No-Cache"][..], &["no-cache, max-age=60"], &["max-age=60", "no-cache"]] {
            assert_eq!(asked(lines), Some(Consistency::Strong), "{lines:?}");
        }
    }

    #[test]
    fn cache_control_max_age_bounds_staleness() {
        assert_eq!(asked(&["no-transform, max-age=10"]), Some(max_staleness(10)));
        assert_eq!(asked(&["max-age=\"10\""]), Some(max_staleness(10)));
    }

    #[test]
    fn least_max_age_of_all_field_lines_bounds_staleness() {
        assert_eq!(asked(&["max-age=60, max-age=20", "max-age=5", "max-age=30"]), Some(max_staleness(5)));
    }

    #[test]
    fn max_age_that_is_no_number_allows_no_staleness() {
        for text in ["max-age=-1", "max-age", "max-age=", "max-age=1s", "max-age=\"1"] {
            assert_eq!(asked(&[text]), Some(max_staleness(0)), "{text}");
        }
    }

    #[test]
    fn max_age_too_large_to_be_held_is_a_long_time() {
        assert_eq!(asked(&["max-age=99999999999"]), Some(max_staleness(u32::MAX.into())));
    }

    #[test]
    fn cache_control_that_says_nothing_of_freshness_asks_for_nothing() {
        assert_eq!(asked(&["no-transform, max-stale=60"]), None);
    }

    #[test]
    fn cache_control_no_store_wins_over_all_others() {
        for lines in [&["max-age=60, No-Store"][..], &["no-store", "no-cache"], &["no-cache, no-store"]] {
            assert_eq!(asked(lines), Some(Consistency::Unstored), "{lines:?}");
        }
    }

    #[test]
    fn greatest_min_fresh_holds_beside_the_least_max_age() {
        let (max_age, min_fresh) = (Duration::from_secs(20), Some(Duration::from_secs(9)));
        let expected = Some(Consistency::Fresh { max_age, min_fresh });
        assert_eq!(asked(&["min-fresh=5, max-age=60", "max-age=20, min-fresh=\"9\""]), expected);
        let unknowable = Some(Consistency::Fresh { max_age: Duration::MAX, min_fresh: Some(Duration::MAX) });
        assert_eq!(asked(&["min-fresh=soon"]), unknowable);
    }

    #[test]
    fn only_if_cached_holds_beside_every_other_directive() {
        for (lines, consistency) in [
            (&["Only-If-Cached"][..], None),
            (&["max-age=10", "only-if-cached"], Some(max_staleness(10))),
            (&["only-if-cached, no-cache"], Some(Consistency::Strong)),
        ] {
            let lines = lines.iter().map(|line| (header::CACHE_CONTROL, HeaderValue::from_static(line)));
            let mut headers = HeaderMap::new();
            lines.for_each(|(name, line)| _ = headers.append(name, line));
            assert_eq!(
                cache_control(&headers),
                CacheControl { consistency, only_if_cached: true, ..CacheControl::default() },
                "{headers:?}"
            );
        }
        let headers = [(header::PRAGMA, HeaderValue::from_static("only-if-cached"))].into_iter().collect();
        assert_eq!(cache_control(&headers), CacheControl::default());
    }

    #[test]
    fn pragma_counts_where_there_is_no_cache_control() {
        let mut headers = HeaderMap::new();
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-store, No-Cache"));
        assert_eq!(cache_control(&headers).consistency, Some(Consistency::Strong));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        assert_eq!(cache_control(&headers).consistency, Some(max_staleness(60)));
    }
}
