//! Why an endpoint gave no answer, as far as it decides what may be done next.

use std::error::Error;

/// Why an endpoint gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// No connection could be made. The request was not sent.
    #[error("no connection to the upstream could be made")]
    Connect,
    /// The connection was closing. The request was not sent.
    #[error("the upstream was closing the connection")]
    Unsent,
    /// The connection broke; the upstream may have seen the request.
    #[error("the connection to the upstream broke before an answer came")]
    Broken,
    /// The call's deadline passed; the upstream may have seen the request.
    #[error("the deadline passed before an answer came")]
    Late,
}

impl Unreachable {
    /// Whether it is certain that the upstream has not seen the request, so that sending it again is always safe.
    pub fn never_sent(self) -> bool {
        matches!(self, Self::Connect | Self::Unsent)
    }

    pub(super) fn from_transport(error: &tonic::transport::Error) -> Self {
        let mut source = error.source();
        while let Some(cause) = source {
            if cause.is::<tonic::ConnectError>() {
                return Self::Connect;
            }
            // The channel keeps the deadline as well, and may notice it first.
            if cause.is::<tonic::TimeoutExpired>() {
                return Self::Late;
            }
            // A call that met a GOAWAY before it got a stream.
            if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
                return Self::Unsent;
            }
            source = cause.source();
        }
        Self::Broken
    }
}
