//! The credential of a call.

use accord_token::Refusal;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

/// The one bearer token of a call (RFC 6750). Another scheme is no credential here (section 3.1), as on the public listener.
/// Two `authorization` values could be read differently by different hops, so they are refused rather than chosen from.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let value = once(headers, AUTHORIZATION.as_str())?.to_str().map_err(|_| Refusal::Missing)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => Ok(token),
        _ => Err(Refusal::Missing),
    }
}

/// The value of a header that carries a credential, and comes once.
pub fn once<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a HeaderValue, Refusal> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() { Err(Refusal::Repeated) } else { Ok(value) }
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
    fn two_authorization_values_are_refused() {
        assert_eq!(read(&["Bearer a", "Bearer b"]), Err(Refusal::Repeated));
    }

    #[test]
    fn authorization_without_a_bearer_token_is_no_credential() {
        for wrong in ["", "Basic abc", "Bearer", "Bearer ", "abc"] {
            assert_eq!(read(&[wrong]), Err(Refusal::Missing), "{wrong:?}");
        }
    }
}
