//! The read-through engine: when an answer may be reused, who loads it, and what an invalidation does to both.
//!
//! Its rules, in the order in which a read meets them:
//! 1. An entry answers while the contract, the reader's wish and its tags allow (`entry`, `validity`).
//! 2. A miss joins the load that is under way for its key, or starts one (`flight`). A read that starts after an
//!    acknowledged invalidation does not join a load that started before it.
//! 3. A load is stored only if it is still the newest of its key and none of its tags was invalidated since its start:
//!    otherwise it answers those who asked before, and is forgotten.
//! 4. Age counts from the start of the load.
//! 5. A load has the time and the passport of the reader that started it. Where the time was too short, a reader that
//!    joined and has more loads again; where that principal was turned away, those who joined ask for themselves.
//! 6. Where the contract permits a stale answer when the origin fails, it also stands in before a reader's time is over in
//!    vain, and the origin is then left alone for a while.
//!
//! Time, chance, tasks, the origin and the store are parameters; the simulation replaces them all.

mod entry;
mod flight;
mod key;
pub mod ledger;
mod load;
mod metrics;
mod read;
#[cfg(test)]
mod simulation;
mod store;
#[cfg(test)]
mod stress;
#[cfg(test)]
mod tests;
mod validity;
mod world;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry::metrics::Meter;

pub use entry::Entry;
pub use key::{Audience, Identity, Key, Tag};
pub use metrics::Metrics;
pub use store::{Memory, Store};
pub use world::{Live, Moment, World};

use flight::Flights;
use validity::Validity;

/// What a load brings: the answer, or the origin's error.
pub type Load = Result<Bytes, Failure>;

/// An error of the origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The gRPC status code.
    pub code: i32,
    /// The status message.
    pub message: String,
    /// `grpc-status-details-bin`, decoded.
    pub details: Bytes,
}

/// Where misses are loaded from.
pub trait Origin: Send + Sync + 'static {
    /// All that one load needs.
    type Call: Clone + Send + Sync + 'static;

    /// Loads, within the time that the call says.
    fn load(&self, call: Self::Call) -> impl Future<Output = Loaded> + Send;
}

/// What came from the origin.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The answer or the error.
    pub load: Load,
    /// What of its metadata is kept, encoded by the origin; the engine does not look inside. Empty where nothing is.
    pub metadata: Bytes,
    /// The tags that only the answer tells. None: they can't be told, and the answer must not be stored.
    pub tags: Option<Vec<Tag>>,
}

impl From<Load> for Loaded {
    /// Without metadata, and without tags that only the answer would tell.
    fn from(load: Load) -> Self {
        Self { load, metadata: Bytes::new(), tags: Some(Vec::new()) }
    }
}

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

/// What a reader wishes, never weaker than the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// What the contract allows.
    Contract,
    /// Not superseded before (now - this).
    MaxStaleness(Duration),
    /// From the origin.
    Strong,
}

/// One read.
#[derive(Clone, Debug)]
pub struct Read<C> {
    /// The place of its answer.
    pub key: Key,
    /// What its contract allows.
    pub policy: Policy,
    /// The tags known before the load.
    pub tags: Arc<[Tag]>,
    /// What the reader wishes.
    pub wish: Wish,
    /// How long the reader waits.
    pub patience: Duration,
    /// How to load it.
    pub call: C,
}

/// An answer, and how fresh it is.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the origin said, now or earlier.
    pub load: Load,
    /// The kept metadata of the same load.
    pub metadata: Bytes,
    /// From where.
    pub outcome: Outcome,
    /// Time since the start of its load.
    pub age: Duration,
    /// How long it is fresh, from the start of its load. Less than `age`: it is stale.
    pub life: Duration,
    /// Whether this read stored it.
    pub stored: bool,
    /// Whether another read loaded it at the same time.
    pub collapsed: bool,
    /// Why it is stale.
    pub stale: Option<Stale>,
}

/// Where an answer came from (RFC 9211, section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// From memory.
    Hit,
    /// Loaded: nothing was there.
    Miss,
    /// Loaded: what was there was too old or invalid.
    Stale,
    /// Loaded: the reader wished it.
    Request,
    /// Loaded without the cache.
    Bypass,
}

/// Why an answer is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// A reload runs behind it.
    Revalidating,
    /// The origin failed.
    OriginFailed,
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

/// Bounds of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of all entries.
    pub capacity: u64,
    /// Callers that wait for one load.
    pub waiters: usize,
    /// Loads under way.
    pub flights: usize,
    /// Tags whose invalidation is remembered one by one.
    pub tags: usize,
    /// How long an origin that failed is left alone where a stale answer serves instead.
    pub rest: Duration,
    /// How long a key whose answer can't be stored is loaded by each reader alone.
    pub uncacheable: Duration,
}

/// The rules that a simulation takes out one by one, to see that it would notice.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a rule of its own")]
struct Rules {
    shared_flights: bool,
    fill_guard: bool,
    start_epochs: bool,
    tag_floor: bool,
    further_tries: bool,
}

impl Rules {
    const ALL: Self =
        Self { shared_flights: true, fill_guard: true, start_epochs: true, tag_floor: true, further_tries: true };
}

/// The engine. Clones share everything.
#[derive(Debug)]
pub struct Engine<O, S, W>(Arc<Parts<O, S, W>>);

impl<O, S, W> Clone for Engine<O, S, W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Parts<O, S, W> {
    origin: O,
    store: S,
    world: W,
    validity: Validity,
    flights: Arc<Flights>,
    bounds: Bounds,
    rules: Rules,
    metrics: Metrics,
}

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// An empty cache before an origin.
    pub fn new(origin: O, store: S, world: W, bounds: Bounds, metrics: Metrics) -> Self {
        Self::with_rules(origin, store, world, bounds, metrics, Rules::ALL)
    }

    fn with_rules(origin: O, store: S, world: W, bounds: Bounds, metrics: Metrics, rules: Rules) -> Self {
        Self(Arc::new(Parts {
            origin,
            store,
            world,
            validity: Validity::new(bounds.tags, rules.tag_floor),
            flights: Arc::new(Flights::new(bounds.flights, bounds.waiters)),
            bounds,
            rules,
            metrics,
        }))
    }

    /// Once this returns, no read that starts later sees an answer loaded before it under one of the tags.
    pub fn invalidate(&self, tags: impl IntoIterator<Item = Tag>) {
        for tag in tags {
            self.0.validity.invalidate(tag);
        }
    }

    /// Once this returns, no read that starts later sees an answer loaded before it.
    pub fn invalidate_all(&self) {
        self.0.validity.invalidate_all();
    }

    /// Shows the bytes and the number of the entries on this meter, for as long as the engine lives.
    pub fn observe(&self, meter: &Meter) {
        let (bytes, entries) = (Arc::downgrade(&self.0), Arc::downgrade(&self.0));
        let bytes = move || bytes.upgrade().map(|parts| parts.store.bytes());
        let entries = move || entries.upgrade().map(|parts| parts.store.entries());
        metrics::gauge(meter, "accord.cache.bytes", "Bytes of all entries", bytes);
        metrics::gauge(meter, "accord.cache.entries", "Number of entries", entries);
    }
}
