//! What callers ask for: contracts, keys and tags.

use std::time::Duration;

use super::oracle::Caller;
use super::origin::{Call, SimulatedCall, group, tag, tagged_by_answer};
use crate::{Audience, ConsistencyRequirement, Identity, Key, Policy, Read, StartFloor, Tag};

pub(super) const POLICY: Policy = Policy {
    ttl: Duration::from_secs(2),
    stale_while_revalidate: Duration::from_millis(500),
    stale_if_error: Duration::from_secs(2),
    negative_ttl: Duration::from_secs(1),
    max_bytes: 1_000,
};

/// What a reader knows whose contract is about to change: it keeps nothing long, and nothing stale.
pub(super) const STRICTER: Policy = Policy {
    ttl: Duration::from_millis(300),
    stale_while_revalidate: Duration::ZERO,
    stale_if_error: Duration::ZERO,
    negative_ttl: Duration::ZERO,
    max_bytes: 1_000,
};

/// A contract that keeps nothing at all.
pub(super) const NOTHING: Policy = Policy { ttl: Duration::ZERO, ..STRICTER };

/// Shorter than many readers stay, and longer than most.
const LOAD_TIMEOUT: Duration = Duration::from_secs(7);

/// A read without a token or a lease.
pub(super) fn request(
    consistency: ConsistencyRequirement,
    policy: Policy,
    wait_budget: Duration,
    call: SimulatedCall,
) -> Read<Call> {
    let object = call.caller.object;
    let tags: Vec<Tag> = if tagged_by_answer(object) { Vec::new() } else { vec![tag(object), group(object)] };
    let (key, call) = (call.key, Call::Object(call));
    let (tags, floor, load_timeout) = (tags.into(), StartFloor::default(), LOAD_TIMEOUT);
    Read { key, policy, tags, consistency, floor, wait_budget, load_timeout, call, lease: None, too_late: None }
}

/// The place of what somebody asks for.
pub(super) fn key(who: Caller) -> Key {
    let tenant = ["north", "south"][usize::from(who.tenant)];
    let principal = ["ada", "bob"][usize::from(who.principal)];
    let audience = if who.shared() { Audience::Shared } else { Audience::Principal(principal) };
    Key::of(&Identity { method: "m", origin: "o", tenant, audience, bytes: &[who.object] })
}
