//! Errors of origins, as the engine passes them on.

use accord_readthrough::Failure;
use bytes::Bytes;
use tonic::Status;

/// The same as a failure of a load.
pub(crate) fn failure_of(status: &Status) -> Failure {
    Failure {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Bytes::copy_from_slice(status.details()),
    }
}
