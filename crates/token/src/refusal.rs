//! Why a token is refused.

use std::time::Duration;

use crate::{Claims, Kind};

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
    /// From where the token comes came too many that nobody signed, and whether somebody signed this one is not looked at for so long.
    #[error("too many tokens that do not verify came from this address; try again later")]
    Throttled(Duration),
    /// The principal does not hold the permission.
    #[error("the permission is missing")]
    PermissionMissing,
    /// Auth knows no such object.
    #[error(
        "the request names no object that auth knows: its type has to be declared as `[[policy.object]]`, and its id has 1 to 256 bytes, \
         no white space and no `#`"
    )]
    ResourceMissing,
    /// The request has gone through as many services as a passport names; [`actor_chain_too_long`] says through which.
    #[error("the request has gone through too many services")]
    ActorChainTooLong,
    /// The passport would be longer than a verifier reads.
    #[error(
        "the passport would be longer than 4 KiB: give its subject fewer roles, or the services on its way shorter names"
    )]
    TokenTooLong,
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

/// Says through which services a request came whose passport can name no further one: most often they call each other in a loop,
/// which shows in the chain. A person is not named, since the answer goes on to others.
pub fn actor_chain_too_long(claims: &Claims, actor: Option<&str>, audience: &str) -> String {
    let subject = match claims.kind {
        Kind::User => "the caller",
        Kind::Service => &claims.sub,
    };
    let mut chain: Vec<_> = actor.into_iter().chain(claims.actors()).chain([subject]).collect();
    chain.reverse();
    format!(
        "the request goes through more services than the {} that a passport names: {} -> {audience}; where they call each other \
         in a loop, end it in one of them, else shorten the way",
        claims.actors().count(),
        chain.join(" -> ")
    )
}

impl Refusal {
    /// When to try again, where trying again can help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Refusal::Stale | Refusal::Unavailable => Some(Duration::from_secs(1)),
            Refusal::Throttled(wait) => Some(*wait),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Actor;

    fn through(kind: Kind, sub: &str, newest_first: &[&str]) -> Claims {
        let act = newest_first
            .iter()
            .rev()
            .fold(None, |act, sub| Some(Actor { sub: (*sub).to_owned(), act: act.map(Box::new) }));
        let text = String::new;
        let (iss, aud, jti, tenant) = (text(), text(), text(), text());
        let roles = Vec::new();
        Claims {
            iss,
            sub: sub.to_owned(),
            aud,
            exp: 0,
            iat: 0,
            nbf: 0,
            jti,
            kind,
            tenant,
            roles,
            ep: 0,
            gep: 0,
            ptj: None,
            act,
            scope: None,
            key: None,
        }
    }

    #[test]
    fn chain_that_is_too_long_is_told_oldest_first_without_the_person() {
        let claims = through(Kind::User, "ada", &["orders", "gateway"]);
        let message = actor_chain_too_long(&claims, Some("catalog"), "orders");
        assert!(message.contains("the 2 that"), "{message}");
        assert!(message.contains(": the caller -> gateway -> orders -> catalog -> orders; "), "{message}");
        assert!(!message.contains("ada"), "{message}");
    }

    #[test]
    fn chain_that_began_at_a_service_names_it() {
        let message = actor_chain_too_long(&through(Kind::Service, "nightly", &["gateway"]), Some("orders"), "catalog");
        assert!(message.contains(": nightly -> gateway -> orders -> catalog; "), "{message}");
    }
}
