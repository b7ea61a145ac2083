//! What the origin said, and what a reader is told about it.

use std::time::Duration;

use bytes::Bytes;

use crate::lease::Granted;
use crate::load_span::{LoadSpan, LoadTrace};

const DEADLINE_EXCEEDED: i32 = 4;
const NOT_FOUND: i32 = 5;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

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

impl Failure {
    pub(crate) fn internal(message: &str) -> Self {
        Self { code: INTERNAL, message: message.to_owned(), ..Self::default() }
    }

    /// The failure of a load whose task is gone: only a process that is ending leaves one like this.
    pub(crate) fn dropped() -> Self {
        Self::internal("the load was dropped")
    }

    /// Whether it says that there is nothing, which can be remembered.
    pub(crate) fn is_absence(&self) -> bool {
        self.code == NOT_FOUND
    }

    pub(crate) fn is_deadline_exceeded(&self) -> bool {
        self.code == DEADLINE_EXCEEDED
    }

    /// Whether a stale answer may be served instead: the origin could not answer, rather than would not.
    pub(crate) fn permits_stale(&self) -> bool {
        matches!(self.code, UNAVAILABLE | DEADLINE_EXCEEDED | INTERNAL | RESOURCE_EXHAUSTED)
    }

    /// Whether it may be about the principal for whom the load ran, rather than about what it was to bring.
    pub(crate) fn is_about_principal(&self) -> bool {
        matches!(self.code, PERMISSION_DENIED | UNAUTHENTICATED)
    }
}

/// An answer, and how fresh it is.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the origin said, now or earlier.
    pub load: Load,
    /// The kept metadata of the same load.
    pub metadata: Bytes,
    /// The version that the origin gave it, where it gives any.
    pub version: Option<u64>,
    /// From where.
    pub outcome: Outcome,
    /// Its load.
    pub span: LoadSpan,
    /// How long its load took.
    pub took: Duration,
    /// Time since the start of its load.
    pub age: Duration,
    /// How long it is fresh, from the start of its load. Less than `age`: it is stale.
    pub lifetime: Duration,
    /// Whether this read stored it.
    pub stored: bool,
    /// Whether another read loaded it at the same time.
    pub collapsed: bool,
    /// Whether it was found in the second level, and not in the memory of this process.
    pub is_shared: bool,
    /// Why it is stale.
    pub stale: Option<Stale>,
    /// The right to answer with it from memory for a while.
    pub lease: Option<Granted>,
    /// The span of the load of another read that it waited for, where that is sampled.
    pub trace: Option<LoadTrace>,
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
    /// Loaded: the reader required it.
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
    /// The origin usually takes longer than the reader had.
    OriginTooSlow,
    /// The origin said what is older: it lags.
    OlderVersion,
}

/// An answer of which nothing further is known.
pub(crate) fn answer(load: Load, metadata: Bytes, outcome: Outcome, age: Duration, lifetime: Duration) -> Answer {
    let (took, span) = (Duration::ZERO, LoadSpan::default());
    Answer {
        load,
        metadata,
        version: None,
        outcome,
        span,
        took,
        age,
        lifetime,
        stored: false,
        collapsed: false,
        is_shared: false,
        stale: None,
        lease: None,
        trace: None,
    }
}
