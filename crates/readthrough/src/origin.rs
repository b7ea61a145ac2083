//! Origins: where misses are loaded from.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use crate::answer::Load;
use crate::key::Tag;
use crate::load_span::LoadTrace;

/// Loads answers.
pub trait Origin: Send + Sync + 'static {
    /// All that one load needs.
    type Call: Clone + Send + Sync + 'static;

    /// Loads, within this time: what its reader has left, or what a load has behind which nobody waits.
    fn load(&self, call: Self::Call, time: Duration) -> impl Future<Output = Loaded> + Send;

    /// Loads several within this time; what came for each, in the order of the calls. An origin that can't do it in one go loads
    /// each for itself.
    fn load_batch(&self, calls: Vec<Self::Call>, time: Duration) -> impl Future<Output = Vec<Loaded>> + Send {
        join_all(calls.into_iter().map(move |call| self.load(call, time)))
    }
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
    /// The version that the origin gives it, where it gives any: higher with each change.
    pub version: Option<u64>,
    /// Its span, where it is sampled.
    pub trace: Option<LoadTrace>,
}

impl From<Load> for Loaded {
    /// Without metadata, and without tags that only the answer would tell.
    fn from(load: Load) -> Self {
        Self { load, metadata: Bytes::new(), tags: Some(Vec::new()), version: None, trace: None }
    }
}
