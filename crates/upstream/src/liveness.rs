//! Liveness of an upstream, as its health probe found it.

/// What an endpoint, or the best endpoint of an upstream, was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Liveness {
    /// It does not answer.
    Away,
    /// It answers, but says that it is not ready to serve. It can be asked for its descriptors.
    Waiting,
    /// It serves.
    Serving,
}
