//! Caching policy: what the contract allows, and which consistency a reader requires beyond it.

use std::time::Duration;

/// What a contract allows.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long an answer is fresh.
    pub ttl: Duration,
    /// Further time in which it is served while one reload runs.
    pub stale_while_revalidate: Duration,
    /// Further time in which it is served when the origin fails.
    pub stale_if_error: Duration,
    /// How long an absence is remembered.
    pub negative_ttl: Duration,
    /// A larger answer is not stored. Its metadata does not count here, but in the weight of its entry.
    pub max_bytes: u64,
}

/// How fresh an answer a reader requires: never weaker than the contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsistencyRequirement {
    /// What the contract allows.
    #[default]
    MinimizeLatency,
    /// Not superseded before (now - this).
    MaxStaleness(Duration),
    /// From the origin.
    Strong,
}
