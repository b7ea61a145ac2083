//! Transport errors: why an endpoint gave no answer, and whether the request may be sent again.

use h2::Reason;
use tonic::Code;

use crate::connect_error::ConnectCause;

/// Why an endpoint gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection could be made. The request was not sent.
    #[error("no connection to the upstream could be made: {0}")]
    Connect(ConnectCause),
    /// The connection was closing, or the upstream refused the stream. It has not processed the request.
    #[error("the upstream was closing the connection, or took no more calls on it")]
    Refused,
    /// The connection broke; the upstream may have seen the request.
    #[error("the connection to the upstream broke before its answer was whole")]
    Broken,
    /// The upstream reset the stream; it may have seen the request.
    #[error("the upstream reset the stream: {0}")]
    Reset(Reason),
    /// The caller's own request broke off.
    #[error("the request broke off")]
    RequestBroken,
    /// The call's deadline passed; the upstream may have seen the request.
    #[error("the deadline passed before an answer came")]
    DeadlineExceeded,
    /// The time of one attempt passed, and not that of the call; the upstream may have seen the request.
    #[error("it gave no answer within the time of an attempt (`retry.attempt_timeout`)")]
    AttemptTimedOut,
}

impl TransportError {
    /// Whether no connection could be made.
    pub fn is_connect(self) -> bool {
        matches!(self, Self::Connect(_))
    }

    /// Whether it is certain that the service has not seen the request, so that sending it again is always safe.
    pub fn is_unprocessed(self) -> bool {
        self.is_connect() || self == Self::Refused
    }

    /// The code that stands for it (for resets: gRPC over HTTP/2, "Errors").
    pub fn code(self) -> Code {
        match self {
            Self::Connect(_)
            | Self::Refused
            | Self::Broken
            | Self::AttemptTimedOut
            | Self::Reset(Reason::REFUSED_STREAM) => Code::Unavailable,
            Self::RequestBroken | Self::Reset(Reason::CANCEL) => Code::Cancelled,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::Reset(Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
            Self::Reset(Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
            Self::Reset(_) => Code::Internal,
        }
    }

    /// The same after the answer's head came: the upstream has processed the request.
    #[must_use]
    pub fn after_head(self) -> Self {
        if self.is_unprocessed() { Self::Broken } else { self }
    }

    /// What an error of a stream, or of its connection, means for a call.
    pub(crate) fn of(error: &h2::Error) -> Self {
        // RFC 9113, 8.7: a stream that was refused, or that is beyond the last one of a GOAWAY, has not been processed.
        match error.reason() {
            Some(Reason::REFUSED_STREAM) if error.is_reset() && error.is_remote() => Self::Refused,
            _ if error.is_go_away() && error.is_remote() => Self::of_goaway(error),
            Some(reason) if error.is_reset() && error.is_remote() => Self::Reset(reason),
            _ => Self::Broken,
        }
    }

    /// Whether an error of a stream is that of its whole connection.
    pub(crate) fn is_of_connection(error: &h2::Error) -> bool {
        error.is_io() || error.is_go_away()
    }

    /// Streams up to the last one of a GOAWAY go on, so whoever gets this error was beyond it; unless the peer gave the
    /// connection up for an error, which ends those that it was processing as well.
    fn of_goaway(error: &h2::Error) -> Self {
        let is_graceful = error.reason() == Some(Reason::NO_ERROR);
        if is_graceful { Self::Refused } else { Self::Broken }
    }
}
