//! Why auth says no, and the one place where a reason becomes a status.

use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_mesh::refusal;
use accord_runtime::fault::{self, StatusBuilder};
use accord_token::{Refusal, keys::KeyError};
use tonic::{Code, Status};

use crate::{password::Overloaded, rotate::RotateError, store::StoreError, vault::VaultError};

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
    /// A name, password, client id, secret or refresh token is wrong; which one is nobody's business.
    #[error("the credential is wrong")]
    Credential,
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
    /// A key could not be made, opened or used.
    #[error("a key can't be used")]
    Key,
}

impl From<KeyError> for Denial {
    fn from(_: KeyError) -> Self {
        Denial::Key
    }
}

impl From<VaultError> for Denial {
    fn from(_: VaultError) -> Self {
        Denial::Key
    }
}

impl From<RotateError> for Denial {
    fn from(error: RotateError) -> Self {
        match error {
            RotateError::Store(error) => Denial::Store(error),
            RotateError::Vault(_) | RotateError::Key(_) => Denial::Key,
        }
    }
}

impl From<Denial> for Status {
    fn from(denial: Denial) -> Self {
        let message = denial.to_string();
        match denial {
            Denial::Store(error) => error.into(),
            Denial::Caller(refused) => refusal::status(refused),
            // UNAUTHENTICATED would say that the *caller* is not known.
            Denial::Subject(refused) => {
                StatusBuilder::new(refusal::reason(refused), message).code(Code::InvalidArgument).build()
            }
            Denial::Credential => fault::status(Reason::CredentialInvalid, message),
            Denial::Reused => fault::status(Reason::RefreshReused, message),
            Denial::Throttled(wait) => StatusBuilder::new(Reason::LoginThrottled, message).retry_after(wait).build(),
            Denial::Overloaded(_) => fault::status(Reason::Overloaded, message),
            Denial::TooLong => StatusBuilder::new(Reason::FieldInvalid, message).code(Code::FailedPrecondition).build(),
            Denial::Field(..) => fault::status(Reason::FieldInvalid, message),
            Denial::NoKey | Denial::Key => fault::status(Reason::AuthUnavailable, message),
        }
    }
}
