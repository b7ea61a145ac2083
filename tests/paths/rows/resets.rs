//! Streams and connections that the upstream ends. The codes are those of gRPC's PROTOCOL-HTTP2.

use crate::{
    reply::{End, Reply},
    row::{Expected, Row},
};
use h2::Reason;
use tonic::Code;

pub(crate) fn rows() -> Vec<Row> {
    let reset = |name, reason, code| Row::new(name, [Reply::reset(reason)], Expected::upstream_fault(code, None));
    let refused = || Reply::reset(Reason::REFUSED_STREAM);
    let unavailable: &[_] = &["ErrorInfo UPSTREAM_UNAVAILABLE"];
    vec![
        // The service has not seen it: it is sent once more, which is no attempt.
        Row::new("refused_stream_once", [refused()], Expected::ok().calls("-,-")),
        Row::new(
            "refused_stream_twice",
            [refused(), refused()],
            Expected::upstream_fault(Code::Unavailable, Some(unavailable)).calls("-,-"),
        ),
        reset("reset_cancel", Reason::CANCEL, Code::Cancelled),
        reset("reset_internal_error", Reason::INTERNAL_ERROR, Code::Internal),
        reset("reset_protocol_error", Reason::PROTOCOL_ERROR, Code::Internal),
        reset("reset_enhance_your_calm", Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
        reset("reset_inadequate_security", Reason::INADEQUATE_SECURITY, Code::PermissionDenied),
        Row::new(
            "reset_amid_answer",
            [Reply::text("half").cut(6).ends(End::Reset(Reason::INTERNAL_ERROR))],
            Expected::upstream_fault(Code::Internal, None),
        ),
        // Two connections, so that the second sending does not depend on how quickly the first is given up.
        Row::new("go_away_before_processing", [Reply::go_away_unprocessed()], Expected::ok().calls("-,-"))
            .connections(2),
        Row::new(
            "go_away_while_in_flight",
            [Reply::text("still").ends(End::GoAwayGraceful)],
            Expected::ok().text("still"),
        ),
    ]
}
