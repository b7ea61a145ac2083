//! A status as an answer in JSON.

use super::CONTENT_TYPE;
use crate::{
    fault::retry_after,
    protocol::{body::Whole, details},
};
use http::{HeaderValue, Response, StatusCode, header};
use prost_reflect::DescriptorPool;
use serde_json::{Value, json};
use tonic::{Status, body::Body};

/// The content type of a problem (RFC 9457).
pub(super) const PROBLEM: &str = "application/problem+json";

/// Which of both an error is follows from what its caller accepts.
const VARY: HeaderValue = HeaderValue::from_static("accept");

/// A status as the JSON body of an error. `known` has the types of its details.
pub(super) fn respond(
    status: &Status,
    http: StatusCode,
    accepts_problem: bool,
    known: Option<&DescriptorPool>,
) -> Response<Body> {
    let body = if accepts_problem { problem(status, http, known) } else { status_json(status, known) };
    let mut response = Response::new(Whole::bytes(body.to_string().into(), None));
    *response.status_mut() = http;
    // For whoever counts: HTTP's status says less than the code.
    response.extensions_mut().insert(status.code());
    let content_type = if accepts_problem { HeaderValue::from_static(PROBLEM) } else { CONTENT_TYPE };
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::VARY, VARY);
    if let Some(seconds) = retry_after(status) {
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

/// A status as the JSON form of `google.rpc.Status`.
pub(in crate::protocol) fn status_json(status: &Status, known: Option<&DescriptorPool>) -> Value {
    json!({
        "code": status.code() as i32,
        "message": status.message(),
        "details": details::json(status, known),
    })
}

/// A status as a problem (RFC 9457).
fn problem(status: &Status, http: StatusCode, known: Option<&DescriptorPool>) -> Value {
    let mut problem = json!({
        "type": "about:blank",
        "title": http.canonical_reason().unwrap_or("Error"),
        "status": http.as_u16(),
        "detail": status.message(),
        "code": status.code() as i32,
        "details": details::json(status, known),
    });
    if let Some(reason) = accord_runtime::fault::reason_of(status) {
        problem["reason"] = accord_runtime::fault::name(reason).into();
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tonic::Code;
    use tonic_types::{ErrorDetails, StatusExt};

    #[test]
    fn retry_info_of_a_handler_is_told_as_retry_after() {
        let told = |delay| {
            let details = ErrorDetails::with_retry_info(delay);
            let status = Status::with_error_details(Code::Unavailable, "", details);
            respond(&status, StatusCode::SERVICE_UNAVAILABLE, false, None).headers().get("retry-after").cloned()
        };
        assert_eq!(told(Some(Duration::from_millis(1500))).unwrap(), "2");
        assert_eq!(told(None), None);
    }

    #[test]
    fn problem_carries_the_details() {
        let details = ErrorDetails::with_error_info("WHY", "shop", [("a".to_owned(), "b".to_owned())]);
        let status = Status::with_error_details(Code::NotFound, "", details);
        assert_eq!(problem(&status, StatusCode::NOT_FOUND, None)["details"][0]["reason"], "WHY");
    }
}
