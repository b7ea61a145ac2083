//! Whether a call is its client's own, so that the certificate of the connection says who makes it.
//!
//! A browser shows its owner's certificate whichever page calls. So that no page calls in somebody's name (CSRF), a certificate does not
//! count for pages of other origins, unless `cors` allows theirs with credentials.

use crate::cors::{Cors, is_own};
use accord_runtime::client_identity::{ClientIdentity, NoIdentity};
use http::{HeaderMap, HeaderName, header};

/// What browsers say of the page that calls, and let no page say (the Fetch Metadata specification).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a call's connection says of who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallerCertificate {
    /// None was shown, or none counts here.
    None,
    /// It is theirs.
    Of(ClientIdentity),
    /// One that is nobody's.
    Unusable(NoIdentity),
    /// One that counts for no page of the origin that calls.
    ForeignPage,
}

impl CallerCertificate {
    /// Of a connection that showed this, for a call with these headers to this host.
    pub(super) fn of(
        shown: Option<Result<ClientIdentity, NoIdentity>>,
        headers: &HeaderMap,
        host: Option<&str>,
        cors: Option<&Cors>,
    ) -> Self {
        match shown {
            None => Self::None,
            Some(_) if is_of_foreign_page(headers, host, cors) => Self::ForeignPage,
            Some(Ok(identity)) => Self::Of(identity),
            Some(Err(why)) => Self::Unusable(why),
        }
    }
}

fn is_of_foreign_page(headers: &HeaderMap, host: Option<&str>, cors: Option<&Cors>) -> bool {
    let origins = || headers.get_all(header::ORIGIN).iter();
    let is_allowed = |origin| cors.is_some_and(|cors| cors.allows_credentials(origin));
    if origins().next().is_some() && origins().all(is_allowed) {
        return false;
    }
    let is_own_site = |site: &http::HeaderValue| site == "same-origin" || site == "none";
    let is_from_here = |origin| host.is_some_and(|host| is_own(origin, host));
    // Whoever is no browser sends neither.
    !headers.get_all(SEC_FETCH_SITE).iter().all(is_own_site) || !origins().all(is_from_here)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cors::CorsConfig;

    fn counts(given: &[(&str, &'static str)], cors: &CorsConfig) -> bool {
        let headers = given.iter().map(|(name, value)| (name.parse().unwrap(), http::HeaderValue::from_static(value)));
        let identity = ClientIdentity::parse("spiffe://prod.example/pay").unwrap();
        let (headers, cors) = (headers.collect::<HeaderMap>(), Cors::new(cors));
        let certificate =
            CallerCertificate::of(Some(Ok(identity.clone())), &headers, Some("api.example"), cors.as_ref());
        assert!([CallerCertificate::Of(identity), CallerCertificate::ForeignPage].contains(&certificate));
        certificate != CallerCertificate::ForeignPage
    }

    fn allowing(origin: &str, credentials: bool) -> CorsConfig {
        let origins = vec![origin.to_owned().try_into().unwrap()];
        CorsConfig { origins, credentials, ..CorsConfig::default() }
    }

    #[test]
    fn certificate_counts_for_programs_and_for_pages_of_its_own_origin() {
        for given in [
            &[][..],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
            &[("origin", "https://api.example")],
            &[("origin", "https://api.example"), ("sec-fetch-site", "same-origin")],
        ] {
            assert!(counts(given, &CorsConfig::default()), "{given:?}");
        }
    }

    #[test]
    fn certificate_does_not_count_for_pages_of_other_origins() {
        for given in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
            &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")],
            &[("origin", "https://api.example"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(!counts(given, &CorsConfig::default()), "{given:?}");
            assert!(!counts(given, &allowing("https://shop.example", true)), "{given:?}");
        }
    }

    #[test]
    fn certificate_counts_for_a_page_that_is_allowed_with_credentials() {
        let given = [("origin", "https://shop.example"), ("sec-fetch-site", "cross-site")];
        assert!(counts(&given, &allowing("https://shop.example", true)));
        assert!(!counts(&given, &allowing("https://shop.example", false)));
    }
}
