//! The bounds of an engine, and what a reader is told at one of them.

use std::time::Duration;

/// Bounds of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all entries.
    pub capacity: u64,
    /// Callers that wait for one load.
    pub waiters: usize,
    /// Loads in flight.
    pub flights: usize,
    /// Tags whose invalidation is remembered one by one.
    pub tags: usize,
    /// How long an origin that failed is not asked again for a key that has a stale answer to serve instead.
    pub cool_down: Duration,
    /// How long a key whose answer can't be stored is loaded by each reader alone.
    pub uncacheable: Duration,
    /// The longest lease. Nothing: there are no leases.
    pub max_lease: Duration,
    /// For how long leases of a process before this one are reckoned with, from the start on: the longest that it may have granted,
    /// whatever this one grants. Nothing: there was none.
    pub first_lease_time: Duration,
}

/// The engine itself is at one of its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overload {
    /// Too many wait for one load.
    #[error("too many callers wait for this answer")]
    Waiters,
    /// Too many loads.
    #[error("too many loads are under way")]
    Flights,
}
