//! The request message, where somebody has to look at it: from a gRPC frame, or from JSON.

use crate::{
    fault::{Component, Fault},
    grpc::{self, BodyError},
    method::Spoken,
    upstream::Call,
};
use accord_api::accord::fault::v1::Reason;
use accord_transcode::{Violation, ViolationKind};
use bytes::Bytes;
use http::{StatusCode, header, request::Parts};
use http_body::Body as _;
use hyper::body::Incoming;

/// Reads the one message of a request, within the bound of its method, and holds it against the fields it requires.
pub(crate) async fn read(call: &Call, spoken: &Spoken, body: Incoming, parts: &Parts) -> Result<Bytes, Fault> {
    let message = decode(call, spoken, body, parts).await?;
    match call.permit.entry().method.missing(&message).map_err(|_| Fault::unreadable())? {
        Some(field) => Err(Fault::violation(Reason::FieldInvalid, &field, "is required")),
        None => Ok(message),
    }
}

async fn decode(call: &Call, spoken: &Spoken, body: Incoming, parts: &Parts) -> Result<Bytes, Fault> {
    let limit = call.permit.entry().method.policy.max_request_bytes;
    match spoken {
        Spoken::Grpc => {
            let (message, _) = grpc::read_unary(body, parts.headers.get("grpc-encoding"), limit)
                .await
                .map_err(|error| body_fault(&error))?;
            message.ok_or_else(|| body_fault(&BodyError::Malformed("there is no message")))
        }
        Spoken::Json(plan, variables) => {
            if let Some(encoding) = parts.headers.get(header::CONTENT_ENCODING).filter(|value| *value != "identity") {
                return Err(body_fault(&BodyError::Encoding(
                    String::from_utf8_lossy(encoding.as_bytes()).into_owned(),
                )));
            }
            let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            if !plan.takes_any_content() && !content_type.is_none_or(is_json) && !body.is_end_stream() {
                return Err(unsupported("the body must be `application/json`"));
            }
            let (text, _) = grpc::collect(body, limit).await.map_err(|error| body_fault(&error))?;
            plan.request(variables, parts.uri.query(), content_type, &text).map_err(|problem| violation(&problem))
        }
    }
}

/// `application/json`, or any other type that is written in JSON.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

fn unsupported(message: impl Into<String>) -> Fault {
    Fault::new(Component::Gateway, Reason::ProtocolUnsupported, message).http(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

fn violation(violation: &Violation) -> Fault {
    let reason = match violation.kind {
        ViolationKind::Malformed => Reason::RequestMalformed,
        ViolationKind::UnknownField => Reason::FieldUnknown,
        ViolationKind::InvalidValue => Reason::FieldInvalid,
    };
    Fault::violation(reason, &violation.field, &violation.problem)
}

fn body_fault(error: &BodyError) -> Fault {
    let gateway = Component::Gateway;
    match error {
        BodyError::TooLarge { .. } => {
            Fault::new(gateway, Reason::RequestTooLarge, error.to_string()).http(StatusCode::PAYLOAD_TOO_LARGE)
        }
        BodyError::Encoding(_) => unsupported(error.to_string()),
        BodyError::Malformed(_) => Fault::violation(Reason::RequestMalformed, "", &error.to_string()),
        BodyError::Broken(_) => Fault::request_cut_off(),
    }
}
