//! The one place where a denial becomes a status: its reason, and with it its code.

use accord_api::accord::fault::v1::Reason;
use accord_mesh::refusal;
use accord_runtime::fault::{self, StatusBuilder};
use tonic::{Code, Status};

use crate::{
    domain::{admin::AdminError, denial::Denial, relations::RelationError},
    store::StoreError,
};

impl From<Denial> for Status {
    fn from(denial: Denial) -> Self {
        let message = denial.to_string();
        match denial {
            Denial::Store(error) => error.into(),
            Denial::Caller(refused) => refusal::status(refused),
            // UNAUTHENTICATED would say that the *caller* is not known.
            Denial::Subject(refused) | Denial::Actor(refused) => {
                StatusBuilder::new(refusal::reason(refused), message).code(Code::InvalidArgument).build()
            }
            Denial::Foreign(refused) => {
                StatusBuilder::new(refusal::reason(refused), message).code(Code::Unauthenticated).build()
            }
            Denial::ActorChainTooLong(_) => fault::status(Reason::ActorChainTooLong, message),
            Denial::Credential => fault::status(Reason::CredentialInvalid, message),
            Denial::SecondFactorMissing => fault::status(Reason::SecondFactorRequired, message),
            Denial::SecondFactorPresent => {
                StatusBuilder::new(Reason::FieldInvalid, message).code(Code::FailedPrecondition).build()
            }
            Denial::Reused => fault::status(Reason::RefreshReused, message),
            Denial::Throttled(wait) => StatusBuilder::new(Reason::LoginThrottled, message).retry_after(wait).build(),
            Denial::Overloaded(_) => fault::status(Reason::Overloaded, message),
            Denial::TooLong => fault::status(Reason::TokenTooLong, message),
            Denial::Field(..) => fault::status(Reason::FieldInvalid, message),
            Denial::NoKey | Denial::Key | Denial::IssuerUnavailable(_) => {
                fault::status(Reason::AuthUnavailable, message)
            }
        }
    }
}

/// The denial of a credential that somebody else's call brought: UNAUTHENTICATED would say that the *caller* is not known.
pub(super) fn of_somebody_else(denial: Denial) -> Status {
    match denial {
        Denial::Credential => {
            StatusBuilder::new(Reason::CredentialInvalid, denial.to_string()).code(Code::InvalidArgument).build()
        }
        denial => denial.into(),
    }
}

impl From<AdminError> for Status {
    fn from(error: AdminError) -> Self {
        let message = error.to_string();
        let reason = match error {
            AdminError::Store(error) => return error.into(),
            AdminError::Denied(denial) => return denial.into(),
            AdminError::KeyRotation(error) => return Denial::from(error).into(),
            AdminError::Hashing(_) => Reason::Overloaded,
            AdminError::Secret(_) => Reason::Internal,
            AdminError::Unknown(_)
            | AdminError::UnknownClient(_)
            | AdminError::UnknownApiKey(_)
            | AdminError::UnknownCertificateIdentity(_)
            | AdminError::UnknownClientKey { .. }
            | AdminError::UnknownSigningKey(_)
            | AdminError::UnknownPolicy(_)
            | AdminError::NotLinked { .. }
            | AdminError::SessionUnknown(_) => Reason::SubjectUnknown,
            AdminError::Exists(_) | AdminError::NoClient(_) | AdminError::Linked(_) => Reason::SubjectExists,
            AdminError::Version { .. } => Reason::VersionConflict,
            AdminError::InFlight => Reason::IdempotencyInFlight,
            AdminError::KeyReused => Reason::IdempotencyKeyReused,
            AdminError::Disabled(_)
            | AdminError::SameSecret(_)
            | AdminError::RoleMissing { .. }
            | AdminError::Name(_)
            | AdminError::RolesTooLong { .. }
            | AdminError::PasswordTooShort
            | AdminError::PasswordTooLong
            | AdminError::SecretTooShort
            | AdminError::Key
            | AdminError::Lifetime
            | AdminError::ClientKeys(_)
            | AdminError::NoClientKey
            | AdminError::OneClientKey
            | AdminError::ClientKeyAlgorithm
            | AdminError::ClientKeyName(_)
            | AdminError::CertificateIdentity(_)
            | AdminError::Note => Reason::FieldInvalid,
        };
        fault::status(reason, message)
    }
}

impl From<RelationError> for Status {
    fn from(error: RelationError) -> Self {
        let message = error.to_string();
        match error {
            RelationError::Store(error) => error.into(),
            RelationError::Denied(denial) => denial.into(),
            RelationError::Admin(error) => error.into(),
            RelationError::Version { .. } => fault::status(Reason::VersionConflict, message),
            RelationError::Object(_) | RelationError::Nothing | RelationError::TooMany(_) => {
                fault::status(Reason::FieldInvalid, message)
            }
        }
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        // What the engine says may quote values: it belongs into the log of the operator, not into an answer.
        error.log();
        fault::status(Reason::AuthUnavailable, "auth can't reach its store")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use accord_token::{InvalidTokenReason, Refusal};
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::domain::password::Overloaded;

    fn unreachable_store() -> StoreError {
        sqlx::Error::PoolClosed.into()
    }

    #[test]
    fn each_denial_has_its_reason_and_code() {
        for (denial, reason, code) in [
            (Denial::Store(unreachable_store()), Reason::AuthUnavailable, Code::Unavailable),
            (Denial::Caller(Refusal::Missing), Reason::CredentialMissing, Code::Unauthenticated),
            (Denial::Caller(Refusal::Revoked), Reason::TokenRevoked, Code::Unauthenticated),
            (Denial::Caller(Refusal::PermissionMissing), Reason::PermissionMissing, Code::PermissionDenied),
            (
                Denial::Subject(Refusal::Invalid(InvalidTokenReason::Type)),
                Reason::CredentialInvalid,
                Code::InvalidArgument,
            ),
            (Denial::Subject(Refusal::Revoked), Reason::TokenRevoked, Code::InvalidArgument),
            (Denial::Credential, Reason::CredentialInvalid, Code::Unauthenticated),
            (Denial::Reused, Reason::RefreshReused, Code::Unauthenticated),
            (Denial::Throttled(Duration::from_secs(1)), Reason::LoginThrottled, Code::ResourceExhausted),
            (Denial::Overloaded(Overloaded), Reason::Overloaded, Code::ResourceExhausted),
            (Denial::Field("audience", "is wrong"), Reason::FieldInvalid, Code::InvalidArgument),
            (Denial::TooLong, Reason::TokenTooLong, Code::FailedPrecondition),
            (Denial::NoKey, Reason::AuthUnavailable, Code::Unavailable),
            (Denial::Key, Reason::AuthUnavailable, Code::Unavailable),
        ] {
            let status = Status::from(denial);
            assert_eq!((fault::reason_of(&status), status.code()), (Some(reason), code), "{status:?}");
        }
    }

    #[test]
    fn throttled_login_says_when_to_try_again() {
        let status = Status::from(Denial::Throttled(Duration::from_secs(7)));
        let retry = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
        assert_eq!(retry, Some(Duration::from_secs(7)));
    }

    #[test]
    fn store_error_is_not_quoted_to_callers() {
        let status = Status::from(Denial::Store(unreachable_store()));
        assert_eq!(status.message(), "auth can't reach its store");
    }
}
