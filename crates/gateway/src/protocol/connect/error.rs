//! An error as Connect writes it: the code by its name, and each detail as its bytes, beside what people can read of it.

use crate::protocol::{body::Whole, details, http_status};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use http::{HeaderValue, Response, StatusCode, header};
use prost_reflect::DescriptorPool;
use serde_json::{Map, Value, json};
use tonic::{Code, Status, body::Body};

/// HTTP statuses that say that a request is no call at all. All others follow from the code.
const NO_CALL: [StatusCode; 3] =
    [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::UNSUPPORTED_MEDIA_TYPE];

/// A status as the answer to a unary call, with an HTTP status that may say more than its code. `known` has the types of its
/// details.
pub(super) fn respond(status: &Status, http: Option<StatusCode>, known: Option<&DescriptorPool>) -> Response<Body> {
    let mut response = Response::new(Whole::bytes(error(status, known).to_string().into(), None));
    let http = http.filter(|http| NO_CALL.contains(http));
    *response.status_mut() = http.unwrap_or_else(|| http_status::of(status.code()));
    // For whoever counts: HTTP's status says less than the code.
    response.extensions_mut().insert(status.code());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A status as an object.
pub(super) fn error(status: &Status, known: Option<&DescriptorPool>) -> Value {
    let mut error = Map::from_iter([("code".to_owned(), name(status.code()).into())]);
    if !status.message().is_empty() {
        error.insert("message".to_owned(), status.message().into());
    }
    let details: Vec<_> = details::of(status).iter().map(|it| detail(&it.type_url, &it.value, known)).collect();
    if !details.is_empty() {
        error.insert("details".to_owned(), details.into());
    }
    error.into()
}

fn detail(url: &str, value: &[u8], known: Option<&DescriptorPool>) -> Value {
    let name = url.rsplit('/').next().unwrap_or_default();
    let mut detail = json!({ "type": name, "value": STANDARD_NO_PAD.encode(value) });
    if let Some(readable) = details::form(url, value, known) {
        detail["debug"] = readable;
    }
    detail
}

fn name(code: Code) -> &'static str {
    match code {
        Code::Cancelled => "canceled",
        // OK is no error, and has no name.
        Code::Unknown | Code::Ok => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::{ErrorDetails, StatusExt};

    #[test]
    fn detail_is_its_bytes_without_padding_beside_what_can_be_read_of_it() {
        let details = ErrorDetails::with_error_info("WHY", "shop", [("a".to_owned(), "b".to_owned())]);
        let written = error(&Status::with_error_details(Code::NotFound, "gone", details), None);
        assert_eq!((&written["code"], &written["message"]), (&"not_found".into(), &"gone".into()));
        let detail = &written["details"][0];
        assert_eq!((&detail["type"], &detail["debug"]["reason"]), (&"google.rpc.ErrorInfo".into(), &"WHY".into()));
        assert!(!detail["value"].as_str().unwrap().ends_with('='), "{detail}");
    }

    #[test]
    fn error_without_message_and_details_is_its_code() {
        assert_eq!(error(&Status::new(Code::Cancelled, ""), None), json!({ "code": "canceled" }));
    }
}
