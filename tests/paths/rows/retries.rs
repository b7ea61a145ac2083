//! Failed attempts (gRFC A6), and what the upstream says about the next.

use crate::{
    reply::Reply,
    row::{Expected, Row},
};
use tonic::Code;

const THREE: &str = "retry = { max_attempts = 3 }";
const PUSHBACK: &str = "grpc-retry-pushback-ms";

pub(crate) fn rows() -> Vec<Row> {
    let down = || Reply::error(Code::Unavailable, "down");
    let failed = || Expected::error(Code::Unavailable, "down");
    let row = |name, script: Vec<Reply>, expected| Row::new(name, script, expected).policy(THREE);
    vec![
        row("unavailable_twice", vec![down(), down()], Expected::ok().calls("-,1,2")),
        row("unavailable_throughout", vec![down(), down(), down()], failed().calls("-,1,2")),
        row(
            "code_that_is_not_retried",
            vec![Reply::error(Code::Internal, "no")],
            Expected::error(Code::Internal, "no"),
        ),
        Row::new("unavailable_without_retry", [down()], failed()),
        row("pushback_at_once", vec![down().trailer(PUSHBACK, "0")], Expected::ok().calls("-,1")),
        row("pushback_never", vec![down().trailer(PUSHBACK, "-1")], failed()),
        row("pushback_malformed", vec![down().trailer(PUSHBACK, "soon")], failed()),
    ]
}
