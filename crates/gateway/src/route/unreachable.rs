//! Why an endpoint gave no answer, as far as it decides what may be done next.

use std::error::Error;

/// Why an endpoint gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// No connection could be made. The request was not sent.
    #[error("no connection to the upstream could be made")]
    Connect,
    /// The connection was closing, or the upstream refused the stream. It has not processed the request.
    #[error("the upstream was closing the connection, or took no more calls on it")]
    Refused,
    /// The connection broke; the upstream may have seen the request.
    #[error("the connection to the upstream broke before an answer came")]
    Broken,
    /// The call's deadline passed; the upstream may have seen the request.
    #[error("the deadline passed before an answer came")]
    Late,
}

impl Unreachable {
    /// Whether it is certain that the service has not seen the request, so that sending it again is always safe.
    pub fn never_seen(self) -> bool {
        matches!(self, Self::Connect | Self::Refused)
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
            let has_no_stream = cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
            if has_no_stream || cause.downcast_ref::<h2::Error>().is_some_and(is_unprocessed) {
                return Self::Refused;
            }
            source = cause.source();
        }
        Self::Broken
    }
}

/// RFC 9113, 8.7: a stream that was refused, or that is beyond the last one of a GOAWAY, has not been processed.
fn is_unprocessed(error: &h2::Error) -> bool {
    let reason = error.reason();
    error.is_remote()
        && (reason == Some(h2::Reason::REFUSED_STREAM) || (error.is_go_away() && reason == Some(h2::Reason::NO_ERROR)))
}
