//! Health of an upstream, as its last health check found it.

/// The health of an endpoint, or of the best endpoint of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthStatus {
    /// It does not answer.
    Unreachable,
    /// It answers `NOT_SERVING`: it is not ready. It can be asked for its descriptors.
    NotServing,
    /// It answers `SERVING`, or serves no health service.
    Serving,
}
