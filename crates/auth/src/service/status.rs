//! The one place where a denial becomes a status: its reason, and with it its code.

use accord_api::accord::fault::v1::Reason;
use accord_mesh::refusal;
use accord_runtime::fault::{self, StatusBuilder};
use tonic::{Code, Status};

use crate::{domain::denial::Denial, store::StoreError};

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

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        // What the engine says may quote values: it belongs into the log of the operator, not into an answer.
        error.log();
        fault::status(Reason::AuthUnavailable, "auth can't reach its store")
    }
}
