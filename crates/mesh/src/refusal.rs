//! The status that tells a caller why it is refused.

use accord_api::accord::fault::v1::Reason;
use accord_runtime::fault::StatusBuilder;
use accord_token::Refusal;
use tonic::Status;

/// The stable reason.
pub fn reason(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::Missing => Reason::CredentialMissing,
        Refusal::Repeated => Reason::HeaderRefused,
        Refusal::Invalid(_) => Reason::CredentialInvalid,
        Refusal::Expired => Reason::TokenExpired,
        Refusal::Revoked => Reason::TokenRevoked,
        Refusal::Stale => Reason::RevocationsStale,
        Refusal::Unavailable => Reason::AuthUnavailable,
        Refusal::Throttled(_) => Reason::LoginThrottled,
        Refusal::PermissionMissing => Reason::PermissionMissing,
        Refusal::ResourceMissing => Reason::ResourceMissing,
        Refusal::ActorChainTooLong => Reason::ActorChainTooLong,
        Refusal::TokenTooLong => Reason::TokenTooLong,
        Refusal::DeadlineExceeded => Reason::DeadlineExceeded,
    }
}

/// Says which permission it was, and where to get it: the contract names it to everybody.
pub fn permission_missing(who: &str, permission: &str, upstream: &str) -> String {
    let place = if upstream.is_empty() { String::new() } else { format!(" on the upstream `{upstream}`") };
    permission_missing_on(who, permission, &place)
}

/// The same where it was asked for on an object. Its id is not repeated: it may be somebody's name.
pub fn permission_missing_on_object(who: &str, permission: &str, object_type: &str) -> String {
    permission_missing_on(who, permission, &format!(" on this `{object_type}`"))
}

fn permission_missing_on(who: &str, permission: &str, place: &str) -> String {
    format!("{who} does not hold the permission `{permission}`{place}; a policy of auth grants it to a role")
}

/// The status, with its reason, and with when to try again where trying again can help.
pub fn status(refusal: Refusal) -> Status {
    let status = StatusBuilder::new(reason(refusal), refusal.to_string());
    refusal.retry_after().into_iter().fold(status, StatusBuilder::retry_after).build()
}
