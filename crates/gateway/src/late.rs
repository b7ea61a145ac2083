//! One deadline, noticed by two: what the other side says when time has run out for both.

use crate::grpc;
use accord_runtime::deadline::Deadline;
use http::HeaderMap;
use std::time::Duration;
use tonic::{Code, Status};

/// How far apart two processes may notice the same moment.
const SAME_MOMENT: Duration = Duration::from_millis(10);

/// Whether a status says no more than that the deadline has passed, at the moment at which it does. The upstream was told
/// that deadline, so its timer and ours race: whichever is first, the answer is to be the same.
pub fn ran_out(deadline: Deadline, status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded && status.details().is_empty() && deadline.remaining() <= SAME_MOMENT
}

/// The same of the metadata that ends a call.
pub fn ran_out_in(deadline: Deadline, metadata: &HeaderMap) -> bool {
    let may_say_so = metadata.get("grpc-status").is_some_and(|code| code == "4");
    may_say_so && grpc::status(metadata, None).is_some_and(|status| ran_out(deadline, &status))
}

/// Whether a call to another binary of the mesh failed because its deadline passed, which says nothing about that binary:
/// the other side says so with one code, the channel's own timer with another.
pub fn was_too_late(deadline: Deadline, status: &Status) -> bool {
    let may_say_so = matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled);
    may_say_so && deadline.remaining() <= SAME_MOMENT
}
