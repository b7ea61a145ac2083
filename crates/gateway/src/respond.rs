//! The answer, in the caller's own protocol.

use crate::{
    details,
    fault::{self, Fault},
    grpc::{self, Whole},
    metadata,
    method::Spoken,
    protocol::Protocol,
    upstream::Answer,
};
use accord_runtime::deadline;
use accord_transcode::Plan;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use prost_reflect::DescriptorPool;
use serde_json::{Value, json};
use tonic::{Status, body::Body};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: &str = "application/problem+json";

/// A unary answer. `known` has the types of its error's details.
pub(crate) fn unary(
    spoken: &Spoken,
    answer: Answer,
    accepts_problem: bool,
    known: &DescriptorPool,
) -> Result<Response<Body>, Fault> {
    match spoken {
        Spoken::Grpc => Ok(grpc_answer(answer)),
        Spoken::Json(plan, _) => json_answer(plan, answer, accepts_problem, known),
    }
}

fn grpc_answer(answer: Answer) -> Response<Body> {
    let mut response = match answer.result {
        Ok(message) => {
            let mut trailers = answer.trailers;
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            Response::new(Whole::answer(grpc::frame(&message), trailers))
        }
        Err(status) if answer.is_trailers_only => grpc::trailers_only(&status),
        Err(status) => {
            let mut trailers = answer.trailers;
            trailers.extend(deadline::trailers(&status));
            Response::new(Whole::answer(Bytes::new(), trailers))
        }
    };
    response.headers_mut().extend(answer.head);
    response.headers_mut().insert(header::CONTENT_TYPE, grpc::CONTENT_TYPE);
    response
}

fn json_answer(
    plan: &Plan,
    answer: Answer,
    accepts_problem: bool,
    known: &DescriptorPool,
) -> Result<Response<Body>, Fault> {
    let mut is_passed_on = false;
    let mut response = match answer.result {
        Ok(message) => {
            let mut text = Vec::with_capacity(message.len() * 2);
            let content_type = plan
                .response(&message, &mut text)
                .map_err(|error| Fault::malformed(format!("the answer is not the declared message: {error}")))?;
            let mut response = Response::new(Whole::bytes(text.into()));
            is_passed_on = content_type.is_some();
            response.headers_mut().insert(header::CONTENT_TYPE, content_type.unwrap_or(JSON));
            response
        }
        Err(status) => json_error(&status, fault::http_status(status.code()), accepts_problem, Some(known)),
    };
    metadata::outward(&answer.head, is_passed_on, response.headers_mut());
    Ok(response)
}

/// A fault, in the caller's own protocol.
pub(crate) fn fault(fault: &Fault, protocol: Protocol, accepts_problem: bool) -> Response<Body> {
    let mut response = match protocol {
        Protocol::Grpc => grpc::trailers_only(fault.status()),
        Protocol::Json => json_error(fault.status(), fault.http_status(), accepts_problem, None),
    };
    fault.add_headers(response.headers_mut());
    response
}

/// The answer to a HEAD: that to a GET without its body.
pub(crate) fn head_alone(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.map(|_| Body::empty())
}

/// A status as the JSON body of an error. `known` has the types of its details.
pub(crate) fn json_error(
    status: &Status,
    http: StatusCode,
    accepts_problem: bool,
    known: Option<&DescriptorPool>,
) -> Response<Body> {
    let body = if accepts_problem { problem(status, http) } else { status_json(status, known) };
    let mut response = Response::new(Whole::bytes(body.to_string().into()));
    *response.status_mut() = http;
    // For whoever counts: HTTP's status says less than the code.
    response.extensions_mut().insert(status.code());
    let content_type = if accepts_problem { HeaderValue::from_static(PROBLEM) } else { JSON };
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// A status as the JSON form of `google.rpc.Status`.
pub(crate) fn status_json(status: &Status, known: Option<&DescriptorPool>) -> Value {
    json!({
        "code": status.code() as i32,
        "message": status.message(),
        "details": details::json(status, known),
    })
}

/// A status as a problem (RFC 9457).
fn problem(status: &Status, http: StatusCode) -> Value {
    let mut problem = json!({
        "type": "about:blank",
        "title": http.canonical_reason().unwrap_or("Error"),
        "status": http.as_u16(),
        "detail": status.message(),
        "code": status.code() as i32,
    });
    if let Some(reason) = accord_runtime::fault::reason_of(status) {
        problem["reason"] = accord_runtime::fault::name(reason).into();
    }
    problem
}

/// Whether the caller reads problems.
pub(crate) fn accepts_problem(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|value| value.to_str().is_ok_and(|text| text.contains(PROBLEM)))
}

/// One message of a JSON stream as text.
pub(crate) fn json_message(plan: &Plan, message: &Bytes, text: &mut Vec<u8>) -> Result<(), Status> {
    match plan.response(message, text) {
        Ok(_) => Ok(()),
        Err(error) => {
            let fault = Fault::malformed(format!("a message of the stream is not the declared one: {error}"));
            Err(fault.status().clone())
        }
    }
}
