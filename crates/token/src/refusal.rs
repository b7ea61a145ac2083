//! Why a token is refused.

use std::time::Duration;

/// Why a caller is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No credential where one is needed.
    #[error("a credential is needed")]
    Missing,
    /// More than one, of which different readers could choose differently.
    #[error("the credential came more than once: send one")]
    Repeated,
    /// A credential that does not verify.
    #[error("the credential does not verify: {0}")]
    Invalid(InvalidTokenReason),
    /// The token's life is over.
    #[error("the token has expired")]
    Expired,
    /// The token, its subject or everything before now was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// What is known about revocations is older than the bound.
    #[error(
        "what is known about revocations is too old to accept any token, since auth can't be reached; try again later"
    )]
    Stale,
    /// Auth can't be reached, or can't reach its store.
    #[error("auth does not answer")]
    Unavailable,
    /// The principal does not hold the permission.
    #[error("the permission is missing")]
    PermissionMissing,
    /// The request has gone through as many services as a passport names.
    #[error("the request has gone through too many services")]
    ActorChainTooLong,
    /// The caller's time was over before auth answered.
    #[error("the deadline passed before auth answered")]
    DeadlineExceeded,
}

/// Why a token does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTokenReason {
    /// More than 4 KiB.
    #[error("it is longer than 4 KiB")]
    TooLong,
    /// Not three segments.
    #[error("it does not have three segments")]
    Segments,
    /// A segment is not canonical base64url.
    #[error("a segment is not canonical base64url")]
    Encoding,
    /// The header says something else than `alg`, `kid` and `typ`, each once.
    #[error("its header is not exactly alg, kid and typ")]
    Header,
    /// A token of another type.
    #[error("it is a token of another type")]
    Type,
    /// No published key has this name.
    #[error("its key is not known")]
    KeyUnknown,
    /// The header's algorithm is not the key's.
    #[error("its algorithm is not the key's")]
    Algorithm,
    /// The signature is not the key's.
    #[error("its signature is wrong")]
    Signature,
    /// A claim is missing, doubled or of the wrong type.
    #[error("its claims are malformed")]
    Claims,
    /// Another issuer.
    #[error("it comes from another issuer")]
    Issuer,
    /// For somebody else.
    #[error("it is for another audience")]
    Audience,
    /// Not yet valid, issued in the future, or longer-lived than a token of its type may be.
    #[error("its times are not acceptable")]
    Times,
}

impl Refusal {
    /// When to try again, where trying again can help.
    pub fn retry_after(&self) -> Option<Duration> {
        matches!(self, Refusal::Stale | Refusal::Unavailable).then_some(Duration::from_secs(1))
    }
}
