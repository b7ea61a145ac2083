//! What Envoy asks by gRPC.

use accord_api::{
    envoy::{
        config::core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction},
        service::auth::v3::{
            AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
            attribute_context::HttpRequest, authorization_server, check_response::HttpResponse,
        },
        r#type::v3::{HttpStatus, StatusCode},
    },
    google,
};
use accord_token::Refusal;
use http::{HeaderMap, HeaderName};
use tonic::{Request, Response, Status};

use super::{
    Proxy,
    answer::Answer,
    credential::{NAMES, credential},
};
use crate::domain::admit::ProxiedRequest;

/// The service.
pub(super) struct Authorization(pub(super) Proxy);

#[tonic::async_trait]
impl authorization_server::Authorization for Authorization {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let AttributeContext { request, context_extensions: said, source, .. } = attributes;
        let address = source.and_then(|peer| peer.address?.socket_address?.address.parse().ok());
        let http = request.and_then(|request| request.http).unwrap_or_default();
        let headers = credentials(&http);
        let said = |name: &str| said.get(name).map(String::as_str);
        let request = ProxiedRequest {
            credential: headers.as_ref().map_err(|refused| *refused).and_then(credential),
            method: said("method").unwrap_or_else(|| method(&http.path)),
            permission: said("permission"),
            upstream: said("upstream"),
            address,
            protocol: "ext_authz",
        };
        Ok(Response::new(response(self.0.answer(&request).await)))
    }
}

/// The method that a request target names. It is taken as it stands: nothing is decoded, so that no two readings of it differ.
fn method(target: &str) -> &str {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    path.strip_prefix('/').unwrap_or_default()
}

/// The credentials that came. Envoy joins several values with a comma, which no token and no key contains: a comma is more than one.
fn credentials(http: &HttpRequest) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::new();
    for name in NAMES.map(HeaderName::from_static) {
        let joined = http.headers.get(name.as_str());
        if joined.is_some_and(|value| value.contains(',')) {
            return Err(Refusal::Repeated);
        }
        let raw = http.header_map.iter().flat_map(|map| &map.headers);
        let raw = raw.filter(|header| header.key.eq_ignore_ascii_case(name.as_str()));
        let raw =
            raw.map(|header| if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value });
        for value in joined.map(String::as_bytes).into_iter().chain(raw) {
            headers.append(name.clone(), value.try_into().map_err(|_| Refusal::Missing)?);
        }
    }
    Ok(headers)
}

fn response(answer: Answer) -> CheckResponse {
    let status = google::rpc::Status { code: answer.code.into(), message: answer.message.clone(), details: Vec::new() };
    let headers = answer.headers.into_iter().map(|(name, value)| header(name, value)).collect();
    let response = if answer.status == http::StatusCode::OK {
        let headers_to_remove = answer.removed.into_iter().map(str::to_owned).collect();
        HttpResponse::OkResponse(OkHttpResponse { headers, headers_to_remove })
    } else {
        let code = StatusCode::try_from(i32::from(answer.status.as_u16())).unwrap_or(StatusCode::Forbidden);
        let status = Some(HttpStatus { code: code.into() });
        HttpResponse::DeniedResponse(DeniedHttpResponse { status, headers, body: answer.message })
    };
    CheckResponse { status: Some(status), http_response: Some(response) }
}

fn header(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value, raw_value: Vec::new() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    }
}

#[cfg(test)]
mod tests {
    use accord_api::envoy::config::core::v3::HeaderMap as RawHeaders;

    use super::*;
    use crate::domain::admit::ProxiedCredential;

    fn joined(value: &str) -> HttpRequest {
        HttpRequest { headers: [("authorization".to_owned(), value.to_owned())].into(), ..HttpRequest::default() }
    }

    fn raw(values: &[&str]) -> HttpRequest {
        let header = |value: &&str| HeaderValue {
            key: "Authorization".to_owned(),
            raw_value: value.as_bytes().to_vec(),
            ..HeaderValue::default()
        };
        let map = RawHeaders { headers: values.iter().map(header).collect() };
        HttpRequest { header_map: Some(map), ..HttpRequest::default() }
    }

    fn read(http: &HttpRequest) -> Result<String, Refusal> {
        let read = |headers: HeaderMap| match credential(&headers)? {
            ProxiedCredential::Token(text) | ProxiedCredential::ApiKey(text) => Ok(text.to_owned()),
        };
        credentials(http).and_then(read)
    }

    #[test]
    fn bearer_token_is_read_from_joined_and_from_raw_headers() {
        assert_eq!(read(&joined("Bearer a.b.c")), Ok("a.b.c".to_owned()));
        assert_eq!(read(&raw(&["bearer a.b.c"])), Ok("a.b.c".to_owned()));
    }

    #[test]
    fn several_values_of_authorization_are_refused() {
        assert_eq!(read(&joined("Bearer a,Bearer b")), Err(Refusal::Repeated));
        assert_eq!(read(&raw(&["Bearer a", "Bearer b"])), Err(Refusal::Repeated));
        let both = HttpRequest { header_map: raw(&["Bearer b"]).header_map, ..joined("Bearer a") };
        assert_eq!(read(&both), Err(Refusal::Repeated));
    }

    #[test]
    fn api_key_that_comes_twice_or_beside_a_token_is_refused() {
        let key = |value: &str| [("x-api-key".to_owned(), value.to_owned())].into();
        assert_eq!(read(&HttpRequest { headers: key("ak_1"), ..HttpRequest::default() }), Ok("ak_1".to_owned()));
        assert_eq!(read(&HttpRequest { headers: key("ak_1,ak_2"), ..HttpRequest::default() }), Err(Refusal::Repeated));
        let mut both = joined("Bearer a.b.c");
        both.headers.insert("x-api-key".to_owned(), "ak_1".to_owned());
        assert_eq!(read(&both), Err(Refusal::Repeated));
    }

    #[test]
    fn request_without_authorization_has_no_credential() {
        assert_eq!(read(&HttpRequest::default()), Err(Refusal::Missing));
    }

    #[test]
    fn method_is_the_path_without_its_query() {
        assert_eq!(method("/a.B/C?d=e"), "a.B/C");
        assert_eq!(method("a.B/C"), "");
        assert_eq!(method("//a.B/C"), "/a.B/C");
        assert_eq!(method("/a.B%2FC"), "a.B%2FC");
    }
}
