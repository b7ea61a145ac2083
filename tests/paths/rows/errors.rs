//! A handler's own errors.

use crate::{
    call::rpc_status,
    reply::Reply,
    row::{Expected, Row},
};
use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt, pb::ErrorInfo};

pub(crate) fn rows() -> Vec<Row> {
    let plain = |name, code, message| Row::new(name, [Reply::error(code, message)], Expected::error(code, message));
    vec![
        plain("not_found", Code::NotFound, "no such word"),
        plain("permission_denied", Code::PermissionDenied, "not yours"),
        plain("unauthenticated", Code::Unauthenticated, "by the handler"),
        plain("resource_exhausted", Code::ResourceExhausted, "quota"),
        plain("aborted", Code::Aborted, "again"),
        plain("message_beyond_ascii", Code::AlreadyExists, "déjà vu: 100%\r\nx-grown: 1"),
        Row::new(
            "error_info",
            [Reply::status(&Status::with_error_details(Code::FailedPrecondition, "sold out", sold_out()))],
            Expected::error(Code::FailedPrecondition, "sold out").details(&["ErrorInfo SOLD_OUT", "BadRequest"]),
        ),
        Row::new(
            "error_info_and_detail_of_the_contract",
            [Reply::status(&custom())],
            Expected::error(Code::FailedPrecondition, "sold out").details(&["ErrorInfo SOLD_OUT", "Note"]),
        ),
    ]
}

fn sold_out() -> ErrorDetails {
    let mut details = ErrorDetails::new();
    details.set_error_info("SOLD_OUT", "shop.example", [("word".into(), "é/1".into())]);
    details.add_bad_request_violation("text", "is sold out");
    details
}

fn custom() -> Status {
    let info = ErrorInfo { reason: "SOLD_OUT".to_owned(), domain: "shop.example".to_owned(), ..ErrorInfo::default() };
    let details = vec![
        Any { type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(), value: info.encode_to_vec() },
        // `text: "gone"`, of the row's own package.
        Any {
            type_url: "type.googleapis.com/error_info_and_detail_of_the_contract.v1.Note".to_owned(),
            value: b"\x0a\x04gone".to_vec(),
        },
    ];
    let message = "sold out";
    Status::with_details(Code::FailedPrecondition, message, rpc_status(Code::FailedPrecondition, message, details))
}
