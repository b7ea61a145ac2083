//! The read-through engine: when an answer may be reused, who loads it, and what an invalidation does to both.
//!
//! Its rules, in the order in which a read meets them:
//! 1. An entry answers while the contract, the reader's consistency requirement and its tags allow (`entry`, `validity`).
//! 2. A miss joins the load that is in flight for its key, or starts one (`flight`). A read that starts after an
//!    acknowledged invalidation does not join a load that started before it.
//! 3. A load is stored only if it is still the newest of its key and none of its tags was invalidated since its start:
//!    otherwise it answers those who asked before, and is forgotten.
//! 4. Age counts from the start of the load.
//! 5. A load has the time and the passport of the reader that started it. Where the time was too short, a reader that
//!    joined and has more loads again; where that principal was turned away, those who joined ask for themselves.
//! 6. Stale-if-error: where the contract permits a stale answer when the origin fails, it also serves readers whose wait
//!    budget is nearly spent, and the origin has a cool-down in which it is not asked for that key.
//! 7. Where the origin gives its answers versions, none is replaced by an older one (`versions`), and no reader is told an older
//!    one than what memory may answer with.
//! 8. A gateway may keep an answer for as long as its lease (`lease`, `near`): an invalidation is acknowledged when no other than
//!    the writer answers from memory with what it is about (`grant`). So a read that starts after an acknowledged write sees it,
//!    at every gateway.
//! 8. Who passes a consistency token (`consistency_token`) is answered by a load that started after what it stands for.
//!
//! What callers put under keys of a namespace lives in the same store, under rules of its own (`namespace`).
//!
//! Clock, randomness, tasks, the origin and the store are parameters; the simulation replaces them all.

#![cfg_attr(not(test), warn(unreachable_pub))]

mod engine;

// The way of a read.
mod read;
mod wait_budget;
mod policy;
mod key;
mod store;
mod entry;
mod position;
mod log_history;
mod validity;
mod versions;
mod flight;
mod limits;
mod lease;
mod grant;
mod verified;
mod newest;
mod consistency_token;
mod load_span;
mod refresh;
mod shared_value;
mod second_level;
mod stale;
mod load;
mod origin;
mod answer;
mod check;
pub mod declared_metrics;
mod metrics;

// Keys of namespaces: what callers put there, and what is loaded where they hold nothing.
mod namespace;
mod change;
mod namespace_keys;
mod key_requirement;
mod namespace_load;
mod namespace_invalidation;
mod write_through;
mod write_turns;
mod namespace_change;
mod changes;
mod quota;

// The near cache of a gateway.
mod near;
mod admission;
mod incarnations;
mod near_metrics;

// Several processes of one cache.
mod log;
mod replica;

// What the way stands on.
mod gap_detector;
mod world;

#[cfg(test)]
mod hit_ratio;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod stress;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Failure, Load, Outcome, Stale};
pub use change::{Change, NamespaceChange};
pub use changes::{Lagged, Watcher};
pub use check::Checked;
pub use consistency_token::{ConsistencyToken, Opened, Required, TokenError, TokenKey, TokenScope};
pub use engine::Engine;
pub use entry::Entry;
pub use gap_detector::{Batch, Continuity, GapDetector, Missing, Noted};
pub use grant::own_wait;
pub use incarnations::Sighting;
pub use key::{Audience, Identity, Key, Tag};
pub use key_requirement::KeyRequirement;
pub use lease::{Granted, LeaseHolder, LeaseRequest};
pub use limits::{Limits, Overload};
pub use load_span::{LoadSpan, LoadTrace, StartFloor};
pub use log::{
    Appended, InProcessLog, Invalidation, InvalidationLog, LogError, Member, Record, Verification, Verified, number,
};
pub use metrics::Metrics;
pub use namespace::{Conflict, Expected, Found, Namespace, NamespaceStats, Write, Written};
pub use namespace_load::{KeyAnswer, KeyLoad};
pub use near::{Asked, Hit, Lease, Near, NearLimits, Refusal};
pub use origin::{Loaded, Origin};
pub use policy::{ConsistencyRequirement, Policy};
pub use position::Position;
pub use quota::NamespaceLimits;
pub use read::Read;
pub use replica::{Acknowledgement, Invalidated, Refused, Replica};
pub use shared_value::{SecondLevel, SharedMiss, SharedValue};
pub use store::{KeyHash, MemoryStore, Store};
pub use world::{Live, Moment, World};
pub use write_through::Committed;
