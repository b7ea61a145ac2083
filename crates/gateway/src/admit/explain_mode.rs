//! Whether a caller asks what is decided about its call: `x-accord-explain`.

use accord_api::accord::fault::v1::Reason;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::protocol::Malformed;

/// What it asks with.
const ASKED: HeaderName = HeaderName::from_static("x-accord-explain");

const MALFORMED: Malformed = Malformed {
    reason: Reason::HeaderRefused,
    message: "`x-accord-explain` must come once and be `1`, for the call to be made and explained, or `dry-run`, for it to be \
              explained and not made",
};

/// What a caller wants to know of its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExplainMode {
    /// What was decided.
    Call,
    /// What would be: nothing is to act.
    DryRun,
}

impl ExplainMode {
    /// As the head of a request says. What it says otherwise may have meant a dry run, and is not taken for a call.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Malformed> {
        let Some(first) = headers.get(ASKED) else { return Ok(None) };
        let is_only = headers.get_all(ASKED).iter().nth(1).is_none();
        match Some(first).filter(|_| is_only).map(HeaderValue::as_bytes) {
            Some(b"1") => Ok(Some(Self::Call)),
            Some(b"dry-run") => Ok(Some(Self::DryRun)),
            _ => Err(MALFORMED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(values: &[&'static str]) -> Result<Option<ExplainMode>, Malformed> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ASKED, HeaderValue::from_static(value));
        }
        ExplainMode::of(&headers)
    }

    #[test]
    fn call_or_dry_run_is_asked_for_by_one_word_each() {
        let expected = [Ok(None), Ok(Some(ExplainMode::Call)), Ok(Some(ExplainMode::DryRun))];
        assert_eq!([asked(&[]), asked(&["1"]), asked(&["dry-run"])], expected);
    }

    #[test]
    fn what_may_have_meant_a_dry_run_is_refused() {
        for values in [&["dryrun"][..], &[""], &["0"], &["1", "dry-run"], &["dry-run", "dry-run"]] {
            assert_eq!(asked(values), Err(MALFORMED), "{values:?}");
        }
    }
}
