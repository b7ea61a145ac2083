//! Why auth says no.

use std::time::Duration;

use accord_token::{Refusal, keys::KeyError};

use super::{encryption_key::EncryptionError, key_rotation::KeyRotationError, password::Overloaded};
use crate::store::StoreError;

/// Why auth says no. There is no default that says yes.
#[derive(Debug, thiserror::Error)]
pub enum Denial {
    /// The store can't be reached, so nothing can be known.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The caller's own token is refused.
    #[error(transparent)]
    Caller(#[from] Refusal),
    /// The token that the call is about is refused.
    #[error("the token in question: {0}")]
    Subject(Refusal),
    /// The token of the workload that acts for the subject is refused.
    #[error("the actor's token: {0}")]
    Actor(Refusal),
    /// The passport names as many actors as it may: through whom the request came, for the services on its way.
    #[error("{0}")]
    ActorChainTooLong(String),
    /// A name, password, client id, secret or refresh token is wrong; which one is not told to callers.
    #[error("the credential is wrong")]
    Credential,
    /// The password is right, and the person has a second factor as well.
    #[error("a code of the second factor is needed")]
    SecondFactorMissing,
    /// There is a second factor already.
    #[error("there is a second factor already; remove it first")]
    SecondFactorPresent,
    /// The token of another issuer is refused.
    #[error("the issuer's token: {0}")]
    Foreign(Refusal),
    /// Another issuer can't be asked for what a token of it is checked with.
    #[error("the issuer `{0}` can't be asked now; try again later")]
    IssuerUnavailable(String),
    /// The account was guessed at too often.
    #[error("too many failed logins")]
    Throttled(Duration),
    /// A refresh token was used again.
    #[error("the refresh token was used before; everything that came from its login has ended")]
    Reused,
    /// Too much work waits.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// A field says nothing, or what can't be.
    #[error("`{0}` {1}")]
    Field(&'static str, &'static str),
    /// No verifier would read the token.
    #[error(
        "the token would be longer than 4 KiB: its subject has too many roles, or it has gone through too many hands"
    )]
    TooLong,
    /// No key may sign now.
    #[error("no key may sign now")]
    NoKey,
    /// A key could not be made, decrypted or used.
    #[error("a key can't be used")]
    Key,
}

impl From<KeyError> for Denial {
    fn from(_: KeyError) -> Self {
        Denial::Key
    }
}

impl From<EncryptionError> for Denial {
    fn from(_: EncryptionError) -> Self {
        Denial::Key
    }
}

impl From<KeyRotationError> for Denial {
    fn from(error: KeyRotationError) -> Self {
        match error {
            KeyRotationError::Store(error) => Denial::Store(error),
            KeyRotationError::Encryption(_) | KeyRotationError::Key(_) => Denial::Key,
        }
    }
}
