//! Why there is no X.509-SVID, and what to do about it.

use std::{error::Error, io, time::Duration};

use tonic::{Code, Status};

/// Why no certificate can be had from the SPIFFE Workload API.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadApiError {
    /// The address is none.
    #[error(
        "{0:?} is no address of a Workload API; write unix:// and the path of its socket, or SPIFFE_ENDPOINT_SOCKET, where that variable \
         has it"
    )]
    Address(String),
    /// The variable that is to have the address is not there.
    #[error("the variable SPIFFE_ENDPOINT_SOCKET is not set; set it, or write unix:// and the path of the socket")]
    NoVariable,
    /// No agent handed out a certificate in time.
    #[error("no X.509-SVID of the Workload API at {address} within {waited:?}: {problem}; {}", problem.remedy())]
    NoSvid {
        /// The agent's address.
        address: String,
        /// How long it was waited for.
        waited: Duration,
        /// What the last attempt came to.
        problem: Problem,
    },
    /// Nothing can ask.
    #[error("the Workload API can't be asked: {0}; allow the process one more thread")]
    Thread(#[from] io::Error),
}

/// What an attempt to get an X.509-SVID came to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nobody listens, or may be asked.
    #[error("the agent can't be reached: {0}")]
    Unreachable(String),
    /// Nothing was heard.
    #[error("the agent does not answer")]
    Silent,
    /// The agent does not know this workload.
    #[error("the agent has no identity for this workload (PERMISSION_DENIED: {0})")]
    Unregistered(String),
    /// The agent failed.
    #[error("the agent answered {0}: {1}")]
    Refused(Code, String),
    /// The agent ended its answer.
    #[error("the agent has gone")]
    Gone,
    /// The agent renewed nothing.
    #[error("the X.509-SVID has ended, and the agent handed out no other")]
    NotRenewed,
    /// What came is none.
    #[error("the agent's answer can't be used: {0}")]
    Unusable(String),
}

impl Problem {
    pub(super) fn unusable(why: impl Into<String>) -> Self {
        Self::Unusable(why.into())
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Silent | Self::Gone => "start the agent, and give this process its socket",
            Self::Unregistered(_) => "register this workload with the agent's server",
            Self::Refused(..) | Self::NotRenewed | Self::Unusable(_) => "look into the agent's log",
        }
    }
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::PermissionDenied => Self::Unregistered(status.message().to_owned()),
            // The agent has said nothing: the connection broke.
            _ if status.source().is_some() => Self::Gone,
            code => Self::Refused(code, status.message().to_owned()),
        }
    }
}
