//! The deadline race: two processes know one deadline, and whichever notices it first, the answer is to be the same.

use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use http::HeaderMap;
use tonic::{Code, Status};

use super::Deadline;
use crate::fault;

/// How far apart two processes may notice the same moment.
const SAME_MOMENT: Duration = Duration::from_millis(10);

/// Whether a status says no more than that the deadline has passed, at the moment at which it does. The other side was
/// told that deadline, so its timer and ours race.
pub fn is_race(deadline: Deadline, status: &Status) -> bool {
    let says_no_more = status.details().is_empty() || fault::reason_of(status) == Some(Reason::DeadlineExceeded);
    status.code() == Code::DeadlineExceeded && says_no_more && deadline.remaining() <= SAME_MOMENT
}

/// The same of the metadata that ends a call, whose details, if any, have been found to be base64.
pub fn is_race_in(deadline: Deadline, metadata: &HeaderMap) -> bool {
    let may_be = metadata.get("grpc-status").is_some_and(|code| code == "4");
    may_be && Status::from_header_map(metadata).is_some_and(|status| is_race(deadline, &status))
}

/// Whether a call of our own failed because its deadline passed, which says nothing about the other side. A timer over there
/// may call it CANCELLED, as tonic's does.
pub fn is_exceeded(deadline: Deadline, status: &Status) -> bool {
    let may_be = matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled);
    may_be && deadline.remaining() <= SAME_MOMENT
}

#[cfg(test)]
mod tests {
    use super::{super::trailers, *};

    fn ends_in(left: Duration) -> Deadline {
        Deadline::after(left)
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_exceeded_at_the_deadline_is_a_race() {
        let plain = Status::deadline_exceeded("mine");
        assert!(is_race(ends_in(SAME_MOMENT), &plain));
        assert!(!is_race(ends_in(SAME_MOMENT * 2), &plain), "the other side's own, shorter bound");
        assert!(is_race_in(ends_in(Duration::ZERO), &trailers(&plain)));
        assert!(!is_race_in(ends_in(SAME_MOMENT * 2), &trailers(&plain)));
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_exceeded_of_this_project_is_a_race_and_of_another_is_not() {
        assert!(is_race(ends_in(Duration::ZERO), &Deadline::exceeded()));
        let explained = Status::with_details(Code::DeadlineExceeded, "", bytes::Bytes::from_static(b"\x08\x04"));
        assert!(!is_race(ends_in(Duration::ZERO), &explained), "it says more than that");
    }

    #[tokio::test(start_paused = true)]
    async fn other_codes_at_the_deadline_are_no_race() {
        assert!(!is_race(ends_in(Duration::ZERO), &Status::cancelled("")));
        assert!(!is_race_in(ends_in(Duration::ZERO), &trailers(&Status::unavailable(""))));
        assert!(!is_race_in(ends_in(Duration::ZERO), &HeaderMap::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn either_code_of_an_own_call_at_the_deadline_is_exceeded() {
        for status in [Status::deadline_exceeded(""), Status::cancelled("")] {
            assert!(is_exceeded(ends_in(SAME_MOMENT), &status));
            assert!(!is_exceeded(ends_in(SAME_MOMENT * 2), &status));
        }
        assert!(!is_exceeded(ends_in(Duration::ZERO), &Status::unavailable("")));
    }
}
