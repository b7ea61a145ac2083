//! The credential of a request that a proxy holds: a bearer token, or an API key in its place or in a header of its own.

use accord_mesh::guard::{bearer, once};
use accord_token::{InvalidTokenReason, Refusal};
use http::{HeaderMap, header::AUTHORIZATION};

use crate::domain::{admit::ProxiedCredential, api_key::PREFIX};

/// Where an API key may stand alone.
pub(super) const API_KEY: &str = "x-api-key";

/// The headers that have one.
pub(super) const NAMES: [&str; 2] = ["authorization", API_KEY];

/// The one credential of a request. Of two, different readers could choose differently.
pub(super) fn credential(headers: &HeaderMap) -> Result<ProxiedCredential<'_>, Refusal> {
    match (headers.contains_key(AUTHORIZATION), headers.contains_key(API_KEY)) {
        (true, true) => Err(Refusal::Repeated),
        (false, true) => {
            let key = once(headers, API_KEY)?.to_str();
            key.map(ProxiedCredential::ApiKey).map_err(|_| Refusal::Invalid(InvalidTokenReason::Encoding))
        }
        _ => {
            let token = bearer(headers)?;
            let is_key = token.starts_with(PREFIX);
            Ok(if is_key { ProxiedCredential::ApiKey(token) } else { ProxiedCredential::Token(token) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&'static str, &'static str)]) -> Result<String, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, value.parse().unwrap());
        }
        credential(&headers).map(|credential| format!("{credential:?}"))
    }

    #[test]
    fn api_key_is_read_from_its_own_header_and_as_a_bearer_token() {
        let key = Ok("ApiKey(\"ak_1\")".to_owned());
        assert_eq!(read(&[("x-api-key", "ak_1")]), key);
        assert_eq!(read(&[("authorization", "Bearer ak_1")]), key);
        assert_eq!(read(&[("authorization", "Bearer a.b.c")]), Ok("Token(\"a.b.c\")".to_owned()));
    }

    #[test]
    fn several_credentials_are_refused() {
        for given in [
            [("x-api-key", "ak_1"), ("x-api-key", "ak_1")],
            [("x-api-key", "ak_1"), ("authorization", "Bearer a.b.c")],
            [("authorization", "Bearer ak_1"), ("authorization", "Bearer a.b.c")],
        ] {
            assert_eq!(read(&given), Err(Refusal::Repeated), "{given:?}");
        }
        assert_eq!(read(&[]), Err(Refusal::Missing));
    }
}
