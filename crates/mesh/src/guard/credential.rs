//! The credential of a call.

use accord_token::{InvalidTokenReason, PASSPORT_HEADER, Refusal};
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

/// What a caller shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// An access token, as a bearer token.
    Access(&'a str),
    /// A passport: the principal whose call this is, in the name of whoever called before.
    Passport(&'a str),
}

impl<'a> Credential<'a> {
    /// The token itself.
    pub fn token(self) -> &'a str {
        match self {
            Self::Access(token) | Self::Passport(token) => token,
        }
    }
}

/// The credential that counts. Where passports are accepted, one that comes along says whose call it is: with the rights of a
/// bearer token beside it, a caller could do for another what that one may not do.
pub fn credential(headers: &HeaderMap, accepts_passports: bool) -> Result<Credential<'_>, Refusal> {
    if !accepts_passports || !headers.contains_key(PASSPORT_HEADER) {
        return bearer(headers).map(Credential::Access);
    }
    let passport = once(headers, PASSPORT_HEADER)?.to_str();
    passport.map(Credential::Passport).map_err(|_| Refusal::Invalid(InvalidTokenReason::Encoding))
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

    fn shown(headers: &[(&'static str, &'static str)], accepts_passports: bool) -> Result<String, Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        credential(&map, accepts_passports).map(|credential| format!("{credential:?}"))
    }

    #[test]
    fn passport_counts_before_a_bearer_token_where_passports_are_accepted() {
        let both = [("authorization", "Bearer a"), ("x-accord-passport", "p")];
        assert_eq!(shown(&both, true), Ok("Passport(\"p\")".to_owned()));
        assert_eq!(shown(&both[1..], true), Ok("Passport(\"p\")".to_owned()));
        assert_eq!(shown(&both[..1], true), Ok("Access(\"a\")".to_owned()));
    }

    #[test]
    fn passport_is_no_credential_where_passports_are_not_accepted() {
        let both = [("authorization", "Bearer a"), ("x-accord-passport", "p")];
        assert_eq!(shown(&both, false), Ok("Access(\"a\")".to_owned()));
        assert_eq!(shown(&both[1..], false), Err(Refusal::Missing));
    }

    #[test]
    fn two_passports_are_refused() {
        let two = [("x-accord-passport", "p"), ("x-accord-passport", "q")];
        assert_eq!(shown(&two, true), Err(Refusal::Repeated));
    }
}
