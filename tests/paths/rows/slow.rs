//! Upstreams that take their time.

use crate::{
    reply::{Reply, Wait},
    row::{Expected, Row},
    upstream::Endpoint::Serves,
};
use std::time::Duration;
use tonic::Code;

const TIMEOUT: Duration = Duration::from_secs(2);
const EARLY: Wait = Wait::NearDeadline(Duration::from_secs(1));
const LAST_MOMENT: Wait = Wait::NearDeadline(Duration::from_millis(5));

pub(crate) fn rows() -> Vec<Row> {
    let late = "as the upstream says it";
    vec![
        Row::new("slow_within_deadline", [Reply::text("slow").after(EARLY)], Expected::ok().text("slow"))
            .timeout(TIMEOUT),
        Row::new("hanging", [Reply::never()], Expected::deadline()).timeout(TIMEOUT),
        Row::new(
            "deadline_noticed_upstream",
            [Reply::error(Code::DeadlineExceeded, late).after(LAST_MOMENT)],
            Expected::deadline(),
        )
        .timeout(TIMEOUT),
        Row::new(
            "deadline_of_its_own",
            [Reply::error(Code::DeadlineExceeded, "the database took too long")],
            Expected::error(Code::DeadlineExceeded, "the database took too long"),
        ),
        Row::new(
            "hedge_beside_slow_endpoint",
            [Reply::never(), Reply::text("swift")],
            Expected::ok().text("swift").calls("-,1"),
        )
        .policy("retry = { max_attempts = 2, hedge_after = \"0.5s\" }")
        .endpoints(&[Serves, Serves]),
    ]
}
