//! CORS (the Fetch standard): pages of which origins may call from a browser, and what of an answer they may read.

use accord_runtime::config::bound::{DAY, Time};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tonic::body::Body;

/// What a page may send: every method that a rule of `google.api.http` may have.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");

/// What the answer to a preflight depends on.
const PREFLIGHT_VARIES: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");

/// What pages may read of the head of an answer, beside its content.
const EXPOSED: &str = "age, cache-status, connect-accept-encoding, connect-content-encoding, content-encoding, deprecation, \
    etag, grpc-accept-encoding, grpc-encoding, grpc-message, grpc-status, grpc-status-details-bin, ratelimit, ratelimit-policy, \
    retry-after, x-accord-consistency-token, x-accord-explained, x-accord-fault, x-accord-invalidation, x-request-id";

/// Pages of which origins may call the public listener from a browser.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorsConfig {
    /// Origins whose pages may call and read the answers, such as `https://shop.example`, or `https://*.shop.example` for any one
    /// label. Default: none, and then no page of another origin may.
    pub origins: Vec<OriginPattern>,
    /// Whether a browser may send cookies and client certificates of its own along; tokens of a page need no leave. Default: false.
    pub credentials: bool,
    /// How long a browser may remember what it was allowed, 1s to 24h. Default: 10 min.
    #[serde(with = "Time::<1000, DAY>")]
    pub max_age: Duration,
    /// Metadata of answers that pages may read beside what Accord says itself, such as `x-total-count`. Default: none.
    pub expose_headers: Vec<ExposedHeader>,
}

impl Default for CorsConfig {
    fn default() -> Self {
        Self { origins: Vec::new(), credentials: false, max_age: Duration::from_mins(10), expose_headers: Vec::new() }
    }
}

/// An origin, or those that differ in the first label of their name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OriginPattern(String);

impl TryFrom<String> for OriginPattern {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let text = text.to_ascii_lowercase();
        let is_right = text.split_once("://").is_some_and(|(scheme, host)| {
            let name = host.strip_prefix("*.").map_or(host, |rest| if rest.contains('.') { rest } else { "*" });
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
            let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
            !scheme.is_empty() && scheme.bytes().all(is_scheme) && !name.is_empty() && name.bytes().all(is_name)
        });
        let problem = "an origin is a scheme and a host, with its port where that is not the usual one and without a path: \
                       `https://shop.example`, or `https://*.shop.example` for any one label";
        if is_right { Ok(Self(text)) } else { Err(problem) }
    }
}

impl From<OriginPattern> for String {
    fn from(pattern: OriginPattern) -> Self {
        pattern.0
    }
}

impl OriginPattern {
    fn matches(&self, origin: &[u8]) -> bool {
        let Some((scheme, rest)) = self.0.split_once('*') else { return self.0.as_bytes() == origin };
        let label = origin.strip_prefix(scheme.as_bytes()).and_then(|host| host.strip_suffix(rest.as_bytes()));
        label.is_some_and(|label| {
            !label.is_empty() && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        })
    }
}

/// The name of a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExposedHeader(HeaderName);

impl TryFrom<String> for ExposedHeader {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse().map(Self).map_err(|_| "a header's name is letters, digits and hyphens, such as `x-total-count`")
    }
}

impl From<ExposedHeader> for String {
    fn from(name: ExposedHeader) -> Self {
        name.0.as_str().to_owned()
    }
}

/// What browsers are told.
pub(crate) struct Cors {
    origins: Vec<OriginPattern>,
    credentials: bool,
    max_age: HeaderValue,
    exposed: HeaderValue,
}

/// A call that a page in a browser may have made.
pub(crate) struct PageCall {
    /// Its origin, where it is one that may read the answer.
    origin: Option<HeaderValue>,
}

impl Cors {
    /// None where no origin is allowed anything.
    pub(crate) fn new(config: &CorsConfig) -> Option<Self> {
        if config.origins.is_empty() {
            return None;
        }
        let own = config.expose_headers.iter();
        let exposed = own.fold(EXPOSED.to_owned(), |names, name| names + ", " + name.0.as_str());
        Some(Self {
            origins: config.origins.clone(),
            credentials: config.credentials,
            max_age: config.max_age.as_secs().into(),
            exposed: HeaderValue::try_from(exposed).ok()?,
        })
    }

    /// Who calls.
    pub(crate) fn page(&self, headers: &HeaderMap) -> PageCall {
        PageCall { origin: headers.get(header::ORIGIN).filter(|origin| self.allows(origin)).cloned() }
    }

    /// Whether pages of an origin may call.
    pub(crate) fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|pattern| pattern.matches(origin.as_bytes()))
    }

    /// Whether pages of an origin may call with what the browser itself shows of its owner, such as a certificate.
    pub(crate) fn allows_credentials(&self, origin: &HeaderValue) -> bool {
        self.credentials && self.allows(origin)
    }

    /// The answer to a browser that asks whether an allowed page may call. It comes without credentials, so nobody is
    /// authenticated. Whoever else asks is answered as any other caller.
    pub(crate) fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let asked = request.headers();
        if *request.method() != Method::OPTIONS || !asked.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let origin = self.page(asked).origin?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        self.allow(origin, headers);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        // Which headers may come in is decided at admission, whoever sends them.
        if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        headers.insert(header::VARY, PREFLIGHT_VARIES);
        Some(response)
    }

    /// Says what the page may read of an answer.
    pub(crate) fn add_headers(&self, page: PageCall, headers: &mut HeaderMap) {
        // Also where the caller is no page: a cache must not give its answer to one.
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = page.origin {
            self.allow(origin, headers);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone());
        }
    }

    fn allow(&self, origin: HeaderValue, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// Whether a page of this origin calls where it comes from: browsers ask nobody's leave for that.
pub(crate) fn is_own(origin: &HeaderValue, host: &str) -> bool {
    let of_page = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    of_page.is_some_and(|of_page| of_page.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Result<OriginPattern, &'static str> {
        OriginPattern::try_from(text.to_owned())
    }

    #[test]
    fn origin_matches_exactly_or_in_one_label() {
        let exact = pattern("https://Shop.example:8443").unwrap();
        assert!(exact.matches(b"https://shop.example:8443"));
        let wild = pattern("https://*.shop.example").unwrap();
        assert!(wild.matches(b"https://a-1.shop.example"));
        for origin in [
            "https://shop.example",
            "https://.shop.example",
            "https://a.b.shop.example",
            "http://a.shop.example",
            "https://a.shop.example.evil.example",
            "https://evil.example/.shop.example",
            "https://a.shop.example:444",
            "null",
        ] {
            assert!(!exact.matches(origin.as_bytes()) && !wild.matches(origin.as_bytes()), "{origin}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in
            ["*", "https://*", "https://*.example", "https://a.*.example", "shop.example", "https://a/b", "null", ""]
        {
            assert!(pattern(text).is_err(), "{text}");
        }
    }
}
