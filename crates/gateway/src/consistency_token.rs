//! Consistency tokens as callers see them: in a header of answers, and in one of calls. What they say only the cache knows.

use crate::fault::{Component, Fault};
use accord_api::accord::fault::v1::Reason;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// What an answer stands for: to be passed with later reads.
pub(crate) const CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("x-accord-consistency-token");
/// What the answer to a read must not be older than.
pub(crate) const AT_LEAST_AS_FRESH: HeaderName = HeaderName::from_static("x-accord-at-least-as-fresh");

/// The token of what the cache was not there for: whoever passes it has a load.
pub(crate) const UNKNOWN: HeaderValue = HeaderValue::from_static("AA");

/// Tokens that are taken from one call: more than the cache accepts, so that it says so.
const MOST_READ: usize = 9;

/// The tokens that a caller passes, as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PassedTokens(Vec<Bytes>);

impl PassedTokens {
    /// Those of all field lines. They belong to no protocol: admission reads them before it removes our own headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(AT_LEAST_AS_FRESH).iter();
        let tokens = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        Self(tokens.filter(|token| !token.is_empty()).take(MOST_READ).map(Bytes::copy_from_slice).collect())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether a copy is what its reader has seen: then it meets all that the copy's own token stands for. Whether it meets any other
    /// one is for the cache to judge.
    pub(crate) fn are_met_by_copy(&self, copy: &HeaderMap) -> bool {
        self.0.is_empty() || copy.get(CONSISTENCY_TOKEN).is_some_and(|own| self.0.iter().all(|seen| *own == **seen))
    }

    /// As the cache takes them.
    pub(crate) fn decode(&self) -> Result<Vec<Bytes>, Fault> {
        let decode = |text: &Bytes| BASE64_URL_SAFE_NO_PAD.decode(text).map(Bytes::from).map_err(|_| not_a_token());
        self.0.iter().map(decode).collect()
    }
}

fn not_a_token() -> Fault {
    let message = "`x-accord-at-least-as-fresh` is no base64url; pass what `x-accord-consistency-token` of an earlier answer said";
    Fault::new(Component::Gateway, Reason::ConsistencyTokenInvalid, message)
}

/// A token of the cache as a header's value; that of nothing known where it gave none.
pub(crate) fn header_value(token: &[u8]) -> HeaderValue {
    let text = BASE64_URL_SAFE_NO_PAD.encode(token);
    HeaderValue::try_from(text).ok().filter(|text| !text.is_empty()).unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing(lines: &[&'static str]) -> PassedTokens {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(AT_LEAST_AS_FRESH, HeaderValue::from_static(line));
        }
        PassedTokens::of(&headers)
    }

    fn copy(token: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONSISTENCY_TOKEN, HeaderValue::from_static(token))])
    }

    #[test]
    fn tokens_of_all_field_lines_are_passed() {
        assert_eq!(passing(&["AQ, Ag", "", "Aw,"]).decode().unwrap(), [&[1][..], &[2], &[3]]);
    }

    #[test]
    fn tokens_beyond_what_the_cache_takes_are_not_read() {
        let many = passing(&["AA,AA,AA,AA,AA,AA", "AA,AA,AA,AA,AA,AA"]);
        assert_eq!(many.count(), MOST_READ);
    }

    #[test]
    fn token_that_is_no_base64_is_invalid_argument() {
        let fault = passing(&["AQ, %"]).decode().unwrap_err();
        assert_eq!(fault.status().code(), tonic::Code::InvalidArgument);
    }

    #[test]
    fn copy_meets_its_own_token_and_no_other() {
        assert!(passing(&["AQ", "AQ"]).are_met_by_copy(&copy("AQ")));
        assert!(!passing(&["AQ", "Ag"]).are_met_by_copy(&copy("AQ")));
        assert!(!passing(&["AQ"]).are_met_by_copy(&HeaderMap::new()));
        assert!(passing(&[]).are_met_by_copy(&HeaderMap::new()));
    }

    #[test]
    fn unknown_token_is_what_the_cache_takes_for_one() {
        assert_eq!(header_value(&accord_readthrough::ConsistencyToken::UNKNOWN), UNKNOWN);
        assert_eq!(header_value(b""), UNKNOWN);
    }
}
