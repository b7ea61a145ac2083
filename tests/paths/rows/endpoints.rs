//! Endpoints that are gone. A call that was never sent goes to another endpoint, whoever sends it.

use crate::{
    row::{Expected, Row},
    upstream::Endpoint::{FallsSilent, Refuses, Serves, Silent},
};
use std::time::Duration;
use tonic::Code;

/// Enough for every endpoint to be chosen.
const MANY: usize = 12;

fn unavailable() -> Expected {
    Expected::upstream_fault(Code::Unavailable, Some(&["ErrorInfo UPSTREAM_UNAVAILABLE"]))
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("one_of_three_refuses", [], Expected::ok()).endpoints(&[Refuses, Serves, Serves]).times(MANY),
        Row::new("two_of_three_refuse", [], Expected::ok()).endpoints(&[Refuses, Serves, Refuses]).times(MANY),
        // No connection stands within `connect_timeout`, which is less than the caller's time.
        Row::new("no_settings", [], unavailable().calls("")).endpoints(&[Silent]).timeout(Duration::from_secs(8)),
        // A connection without SETTINGS is none: the call was not sent.
        Row::new("one_of_three_falls_silent", [], Expected::ok())
            .endpoints(&[Serves, FallsSilent, Serves])
            .timeout(Duration::from_secs(6))
            .times(MANY),
    ]
}
