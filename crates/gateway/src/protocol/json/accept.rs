//! Content negotiation (RFC 9110, 12.5.1): which of two media types a caller would rather have.

use crate::protocol::weight;
use http::{HeaderMap, header};

/// How well a media type is accepted: by its weight, then by how exactly it was named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Preference {
    /// In thousandths; 0 where it is not accepted.
    weight: u16,
    precision: Precision,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    /// `*/*`.
    #[default]
    Any,
    /// `type/*`.
    Type,
    /// `type/subtype`.
    Exact,
}

/// Whether a caller would rather have `wanted` than `default`, which it gets where it leaves that open. Who names both alike
/// knows what the less usual one is for.
pub(super) fn prefers(headers: &HeaderMap, wanted: &str, default: &str) -> bool {
    let wanted = preference(headers, wanted);
    if wanted.weight == 0 {
        return false;
    }
    let default = preference(headers, default);
    wanted > default || (wanted == default && wanted.precision == Precision::Exact)
}

/// By the most exact range that a media type is in.
fn preference(headers: &HeaderMap, media_type: &str) -> Preference {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let ranges = lines.flat_map(|line| line.split(','));
    ranges.filter_map(|range| in_range(range, media_type)).max_by_key(|found| found.precision).unwrap_or_default()
}

fn in_range(range: &str, media_type: &str) -> Option<Preference> {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next()?;
    let precision = if name.eq_ignore_ascii_case(media_type) {
        Precision::Exact
    } else {
        match name.strip_suffix("/*")? {
            "*" => Precision::Any,
            main if main.eq_ignore_ascii_case(media_type.split('/').next()?) => Precision::Type,
            _ => return None,
        }
    };
    Some(Preference { weight: weight::of(parts)?, precision })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn prefers_events(accept: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in accept {
            headers.append(header::ACCEPT, HeaderValue::from_static(line));
        }
        prefers(&headers, "text/event-stream", "application/x-ndjson")
    }

    #[test]
    fn media_type_that_is_named_is_preferred() {
        for accept in [&["text/event-stream"][..], &["TEXT/Event-Stream"], &["text/html, text/event-stream;q=0.1"]] {
            assert!(prefers_events(accept), "{accept:?}");
        }
        assert!(prefers_events(&["text/html", "text/event-stream"]), "on a field line of its own");
    }

    #[test]
    fn media_type_with_weight_zero_is_not_preferred() {
        for accept in ["text/event-stream;q=0", "text/event-stream; Q=0.000", "text/event-stream;q=0, */*"] {
            assert!(!prefers_events(&[accept]), "{accept}");
        }
    }

    #[test]
    fn media_type_with_the_greater_weight_is_preferred() {
        assert!(prefers_events(&["application/x-ndjson;q=0.2, text/event-stream;q=0.25"]));
        assert!(!prefers_events(&["application/x-ndjson;q=0.3, text/event-stream;q=0.25"]));
    }

    #[test]
    fn wildcard_that_includes_the_default_leaves_it() {
        for accept in [&["*/*"][..], &["application/*"], &["text/html, */*;q=0.8"], &[]] {
            assert!(!prefers_events(accept), "{accept:?}");
        }
        assert!(prefers_events(&["text/*"]), "which leaves the default out");
    }

    #[test]
    fn media_range_with_a_malformed_weight_is_ignored() {
        assert!(!prefers_events(&["text/event-stream;q=2"]));
    }
}
