//! Answers that are large, too large, or none.

use crate::{
    reply::{End, Reply},
    row::{Expected, Row},
};
use http::StatusCode;
use tonic::Code;

pub(crate) fn rows() -> Vec<Row> {
    let malformed = |code| Expected::upstream_fault(code, Some(&["ErrorInfo UPSTREAM_MALFORMED"]));
    let large = "l".repeat(6 << 20);
    let half = || Reply::text("half");
    vec![
        Row::new("answer_of_6_mib", [Reply::text(&large)], Expected::ok().text(large))
            .policy("max_response_bytes = 16777216"),
        Row::new(
            "answer_above_its_bound",
            [Reply::text(&"x".repeat(98))],
            Expected::upstream_fault(Code::ResourceExhausted, Some(&["ErrorInfo RESPONSE_TOO_LARGE"])),
        )
        .policy("max_response_bytes = 99"),
        Row::new("half_a_message", [half().cut(7)], malformed(Code::Internal)),
        Row::new("half_a_prefix", [half().cut(3)], malformed(Code::Internal)),
        Row::new("ok_without_message", [half().without_message()], malformed(Code::Internal)),
        Row::new("no_status", [half().ends(End::NoStatus)], malformed(Code::Unknown)),
        Row::new("status_that_is_no_code", [half().trailer("grpc-status", "banana")], malformed(Code::Unknown)),
        Row::new("html_503", [Reply::html(StatusCode::SERVICE_UNAVAILABLE)], malformed(Code::Unavailable)),
        Row::new("html_404", [Reply::html(StatusCode::NOT_FOUND)], malformed(Code::Unimplemented)),
        Row::new(
            "details_that_are_no_base64",
            [Reply::error(Code::InvalidArgument, "bad").trailer("grpc-status-details-bin", "!!!")],
            Expected::error(Code::InvalidArgument, "bad"),
        ),
    ]
}
