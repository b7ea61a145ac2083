//! What a failure of a read says: of the cache, of the upstream behind it, or of the call itself.

use crate::{
    fault::{Component, Fault},
    upstream::Call,
};
use accord_api::accord::fault::v1::Reason;
use accord_runtime::{deadline, fault};
use tonic::{Code, Status};

/// The failure of the cache, after which a read goes past it; a fault where it is the call's own.
pub(super) fn not_of_the_cache(call: &Call, failure: Status) -> Result<Status, Fault> {
    if deadline::is_exceeded(call.deadline, &failure) {
        return Err(Fault::deadline(Component::Upstream));
    }
    // What the caller passed is its own to correct: without the cache it would be answered as if it had passed nothing.
    if fault::reason_of(&failure) == Some(Reason::ConsistencyTokenInvalid) {
        return Err(Fault::from_status(Component::Gateway, failure));
    }
    Ok(failure)
}

/// Why the upstream gave the cache no answer: the same as if the gateway had asked it.
pub(super) fn upstream_fault(status: Status) -> Fault {
    if fault::reason_of(&status) == Some(Reason::DeadlineExceeded) {
        return Fault::deadline(Component::Upstream);
    }
    Fault::from_status(Component::Upstream, status)
}

pub(super) fn is_down(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
}

/// Not the answer of a cache that is meant to be asked by this gateway.
pub(super) fn is_refusal(status: &Status) -> bool {
    matches!(status.code(), Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied)
}
