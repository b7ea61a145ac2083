//! The credential of a call.

use accord_token::{InvalidTokenReason, Refusal};
use http::{HeaderMap, header::AUTHORIZATION};

/// The one bearer token of a call (RFC 6750). Two `authorization` values could be read differently by different hops, so
/// they are refused rather than chosen from.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() {
        return Err(Refusal::Invalid(InvalidTokenReason::Scheme));
    }
    let value = value.to_str().map_err(|_| Refusal::Invalid(InvalidTokenReason::Scheme))?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => Ok(token),
        _ => Err(Refusal::Invalid(InvalidTokenReason::Scheme)),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&'static str]) -> Result<String, Refusal> {
        let values = values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, value);
        }
        bearer(&headers).map(ToOwned::to_owned)
    }

    #[test]
    fn one_bearer_token_is_read_whatever_the_case_of_its_scheme() {
        assert_eq!(read(&["Bearer abc"]), Ok("abc".to_owned()));
        assert_eq!(read(&["bearer abc"]), Ok("abc".to_owned()));
    }

    #[test]
    fn call_without_authorization_has_no_credential() {
        assert_eq!(read(&[]), Err(Refusal::Missing));
    }

    #[test]
    fn anything_but_one_bearer_token_is_invalid() {
        for wrong in [&["Bearer a", "Bearer b"][..], &["Basic abc"], &["Bearer"], &["Bearer "], &["abc"]] {
            assert_eq!(read(wrong), Err(Refusal::Invalid(InvalidTokenReason::Scheme)), "{wrong:?}");
        }
    }
}
