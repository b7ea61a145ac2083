//! Why no connection to an endpoint could be made, in the words of whoever has to mend it.

use std::io;

use accord_runtime::tls::HandshakeFailure;
use rustls::AlertDescription;

/// Why no connection could be made, and what the system said.
#[derive(Debug, thiserror::Error)]
#[error("{cause}: {error}")]
pub struct ConnectError {
    /// Of which kind.
    pub cause: ConnectCause,
    /// What the system, TLS or HTTP/2 said. No `source`: the cause alone would be lost where only the bottom is told.
    error: io::Error,
}

/// Kinds of reasons why no connection can be made. Callers are told them: they say nothing of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectCause {
    /// Its name has no address.
    #[error("its name is not resolved to an address")]
    Unresolved,
    /// Kubernetes says of none of its pods that it is ready.
    #[error("none of its pods is ready")]
    NotReady,
    /// The port is closed.
    #[error("nothing listens at its address")]
    Refused,
    /// It did not stand in time.
    #[error("it did not answer in time")]
    TimedOut,
    /// The network does not lead there.
    #[error("its address can't be reached")]
    Unreachable,
    /// It was called without TLS.
    #[error("it was called in plaintext and speaks TLS")]
    Tls,
    /// TLS does not come to stand.
    #[error(transparent)]
    Handshake(HandshakeFailure),
    /// A web server, most often on another port than that for gRPC.
    #[error("it speaks HTTP/1 there, and gRPC needs HTTP/2")]
    Http1,
    /// Anything else.
    #[error("it does not speak HTTP/2")]
    NotHttp2,
}

impl ConnectCause {
    /// What whoever runs the caller can do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Unresolved => "correct the name in its URL, or what resolves names here",
            Self::NotReady => "see what its pods are doing, and whether the log tells that discovery fails",
            Self::Refused => "start it, or correct the port in its URL",
            Self::TimedOut | Self::Unreachable => {
                "check host, port and scheme of its URL, and that no firewall or network policy lies between"
            }
            Self::Tls => "write https:// in its URL, and name its authority in `tls.ca_file`",
            Self::Handshake(failure) => failure.remedy(),
            Self::Http1 => "give the port on which it serves gRPC",
            Self::NotHttp2 => "give the port on which it serves gRPC, and https:// where it asks for TLS",
        }
    }
}

/// What was read first on a connection, where it did not come to stand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FirstRead {
    /// Bytes, as many as are looked at.
    Bytes([u8; 5]),
    /// TLS ended it.
    Failed(ConnectCause),
}

impl ConnectError {
    fn new(cause: ConnectCause, error: io::Error) -> Self {
        Self { cause, error }
    }

    /// There is no address to connect to, for this cause.
    pub(crate) fn no_address(cause: ConnectCause) -> Self {
        Self::new(cause, io::ErrorKind::NotFound.into())
    }

    pub(crate) fn timed_out() -> Self {
        Self::new(ConnectCause::TimedOut, io::ErrorKind::TimedOut.into())
    }

    pub(crate) fn of_tcp(error: io::Error) -> Self {
        let cause = match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectCause::Refused,
            io::ErrorKind::TimedOut => ConnectCause::TimedOut,
            _ => ConnectCause::Unreachable,
        };
        Self::new(cause, error)
    }

    pub(crate) fn of_tls(error: io::Error) -> Self {
        Self::new(tls_cause(&error).unwrap_or(ConnectCause::Handshake(HandshakeFailure::Other)), error)
    }

    /// HTTP/2 did not begin. What came in its place says more than HTTP/2's error.
    pub(crate) fn of_http2(error: io::Error, first: Option<FirstRead>) -> Self {
        let cause = match first {
            Some(FirstRead::Failed(cause)) => cause,
            Some(FirstRead::Bytes(bytes)) if bytes.starts_with(b"HTTP/") => ConnectCause::Http1,
            // An alert record (RFC 8446, section 5.1).
            Some(FirstRead::Bytes([21, 3, ..])) => ConnectCause::Tls,
            _ => ConnectCause::NotHttp2,
        };
        Self::new(cause, error)
    }
}

impl FirstRead {
    /// From the first bytes that were read.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut first = [0; 5];
        let length = bytes.len().min(first.len());
        first[..length].copy_from_slice(&bytes[..length]);
        Self::Bytes(first)
    }

    /// From an error in place of the first bytes; none where TLS has no part in it.
    pub(crate) fn failed(error: &io::Error) -> Option<Self> {
        tls_cause(error).map(Self::Failed)
    }
}

fn tls_cause(error: &io::Error) -> Option<ConnectCause> {
    let alert = error.get_ref().and_then(|error| error.downcast_ref());
    if let Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) = alert {
        return Some(ConnectCause::Http1);
    }
    HandshakeFailure::of(error).map(ConnectCause::Handshake)
}
