//! What nginx (`auth_request`), Traefik (`forwardAuth`) and others ask by HTTP: the request's headers as they came, and in the query
//! what the proxy's configuration says of it.

use axum::{
    Router,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
    routing::any,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{
    Proxy,
    answer::{Answer, REASON},
    credential::credential,
};
use crate::domain::admit::ProxiedRequest;

/// Where it is asked.
pub(super) const PATHS: &[&str] = &["/ext_authz"];

/// Which headers the request loses, for those that can be told (Envoy's `http_service`).
const REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// The routes.
pub(super) fn router(proxy: Proxy) -> Router {
    Router::new().route(PATHS[0], any(check)).with_state(proxy)
}

async fn check(State(proxy): State<Proxy>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let Some(said) = Said::read(query.as_deref().unwrap_or_default()) else {
        let message =
            "the query names `permission`, `upstream` and `method`, each once and percent-decoded as it stands\n";
        return (StatusCode::FORBIDDEN, [(REASON, "FIELD_INVALID")], message).into_response();
    };
    let request = ProxiedRequest {
        credential: credential(&headers),
        method: said.method.unwrap_or_default(),
        permission: said.permission,
        upstream: said.upstream,
        address: None,
        protocol: "http",
    };
    response(proxy.answer(&request).await)
}

/// What the proxy's configuration says of a request.
#[derive(Default)]
struct Said<'a> {
    method: Option<&'a str>,
    permission: Option<&'a str>,
    upstream: Option<&'a str>,
}

impl<'a> Said<'a> {
    /// None where something is said twice, not known, or escaped: names of methods, permissions and upstreams need no escapes, so
    /// that whatever a caller may have slipped into the query shows.
    fn read(query: &'a str) -> Option<Self> {
        let mut said = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=')?;
            let place = match name {
                "method" => &mut said.method,
                "permission" => &mut said.permission,
                "upstream" => &mut said.upstream,
                _ => return None,
            };
            let is_plain = !value.contains(['%', '+', '=']);
            if !is_plain || place.replace(value).is_some() {
                return None;
            }
        }
        Some(said)
    }
}

fn response(answer: Answer) -> Response {
    let mut response = (answer.status, answer.message).into_response();
    let headers = response.headers_mut();
    for (name, value) in answer.headers {
        match HeaderValue::from_str(&value) {
            Ok(value) => headers.insert(HeaderName::from_static(name), value),
            Err(_) => return StatusCode::FORBIDDEN.into_response(),
        };
    }
    if let Ok(removed) = HeaderValue::from_str(&answer.removed.join(","))
        && !removed.is_empty()
    {
        headers.insert(REMOVE, removed);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_says_permission_and_upstream() {
        let said = Said::read("permission=a.b&upstream=c").unwrap();
        assert_eq!((said.permission, said.upstream, said.method), (Some("a.b"), Some("c"), None));
    }

    #[test]
    fn query_with_something_twice_unknown_or_escaped_is_refused() {
        for query in ["permission=a&permission=b", "permision=a", "permission", "permission=a%26b", "method=a+b"] {
            assert!(Said::read(query).is_none(), "{query}");
        }
    }

    #[test]
    fn empty_permission_is_said() {
        assert_eq!(Said::read("permission=&upstream=c").unwrap().permission, Some(""));
    }
}
