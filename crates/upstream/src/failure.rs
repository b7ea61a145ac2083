//! Why a call to an upstream has no answer, and the status and reason of that.

use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_runtime::deadline::Deadline;
use accord_runtime::fair_share::Shed;
use accord_runtime::fault::StatusBuilder;
use http::StatusCode;
use tonic::{Code, Status};

use crate::grpc::{self, BodyError};
use crate::transport_error::TransportError;

/// When a caller may come back to an upstream that has all the calls it may have.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// When a caller may come back to an upstream where calls queue: an overload seldom ends sooner.
const RETRY_SHED_AFTER: Duration = Duration::from_secs(1);

/// Why a call has no answer.
#[derive(Debug)]
pub enum Failure {
    /// No endpoint gave one.
    Transport(TransportError),
    /// It can't be used.
    Body(BodyError),
    /// It is none of gRPC.
    NotGrpc(StatusCode),
    /// As many calls are in flight at the upstream as may be.
    Overloaded,
    /// Its answers take longer than they do without a queue, and calls that are as critical, or of the same caller, wait already.
    Shed,
}

impl Failure {
    pub(crate) fn transport_error(error: TransportError, deadline: Deadline) -> Self {
        Self::Transport(if deadline.expired() { TransportError::DeadlineExceeded } else { error })
    }

    pub(crate) fn body(error: BodyError, deadline: Deadline) -> Self {
        match error {
            BodyError::Broken(_) if deadline.expired() => Self::Transport(TransportError::DeadlineExceeded),
            BodyError::Broken(Some(error)) => Self::Transport(error),
            error => Self::Body(error),
        }
    }

    pub(crate) fn no_message() -> Self {
        Self::Body(BodyError::Malformed("its status is OK and there is no message"))
    }

    /// Whether the call's deadline passed.
    pub fn is_deadline(&self) -> bool {
        matches!(self, Self::Transport(TransportError::DeadlineExceeded))
    }

    /// Whether the answer had no room in memory.
    pub fn shed(&self) -> Option<Shed> {
        match self {
            Self::Body(BodyError::Shed(shed)) => Some(*shed),
            _ => None,
        }
    }

    /// Whether it is certain that the upstream has not acted on the call.
    pub fn is_unprocessed(&self) -> bool {
        match self {
            Self::Transport(error) => error.is_unprocessed(),
            Self::Overloaded | Self::Shed => true,
            Self::Body(_) | Self::NotGrpc(_) => false,
        }
    }

    /// Whether the call itself was carried out, and only its answer can't be told on.
    pub fn is_of_an_answer(&self) -> bool {
        matches!(self, Self::Body(_))
    }

    /// The code that stands for it.
    pub fn code(&self) -> Code {
        match self {
            Self::Transport(error) => error.code(),
            Self::Body(BodyError::TooLarge { .. } | BodyError::Shed(_)) | Self::Overloaded | Self::Shed => {
                Code::ResourceExhausted
            }
            Self::Body(BodyError::Broken(_)) => Code::Unavailable,
            Self::Body(BodyError::Malformed(_) | BodyError::Unsaid | BodyError::Encoding(_)) => Code::Internal,
            Self::NotGrpc(status) => grpc::from_http(*status),
        }
    }

    /// What a caller of the upstream is told: the code, a stable reason, and that it was the upstream's fault.
    pub fn status(&self, upstream: &str) -> Status {
        let unusable = |error: &BodyError| format!("the answer of {upstream} can't be used: {error}");
        let (reason, message, retry_after) = match self {
            Self::Transport(TransportError::DeadlineExceeded) => {
                let message = "the deadline passed before the call was answered".to_owned();
                (Reason::DeadlineExceeded, message, None)
            }
            Self::Transport(error @ TransportError::Reset(_)) => {
                (Reason::UpstreamReset, format!("upstream {upstream}: {error}"), None)
            }
            Self::Transport(error @ TransportError::RequestBroken) => {
                (Reason::RequestMalformed, error.to_string(), None)
            }
            Self::Transport(error) => (Reason::UpstreamUnavailable, format!("upstream {upstream}: {error}"), None),
            Self::Body(error @ BodyError::TooLarge { .. }) => (Reason::ResponseTooLarge, unusable(error), None),
            Self::Body(error @ BodyError::Shed(_)) => (Reason::Overloaded, unusable(error), Some(RETRY_AFTER)),
            Self::Body(error @ BodyError::Broken(_)) => (Reason::UpstreamUnavailable, unusable(error), None),
            Self::Body(error) => (Reason::UpstreamMalformed, unusable(error), None),
            Self::NotGrpc(status) => {
                let message = format!("upstream {upstream} answered HTTP {status} and no gRPC status");
                (Reason::UpstreamMalformed, message, None)
            }
            Self::Overloaded => {
                let message = format!("as many calls are in flight at upstream {upstream} as may be (`max_in_flight`)");
                (Reason::UpstreamOverloaded, message, Some(RETRY_AFTER))
            }
            Self::Shed => {
                let message = format!(
                    "upstream {upstream} answers slowly because calls queue there, and calls that are more critical, or of \
                     others, come first (`adaptive`); try again shortly"
                );
                (Reason::UpstreamOverloaded, message, Some(RETRY_SHED_AFTER))
            }
        };
        let status = StatusBuilder::new(reason, message).code(self.code()).metadata("component", "upstream");
        match retry_after {
            Some(delay) => status.retry_after(delay).build(),
            None => status.build(),
        }
    }
}
