//! Values in the second level, a store that replicas of a cache share: how they travel, and why one does not answer a read.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::answer::Load;
use crate::key::{Key, Tag};
use crate::position::Position;

/// A store that replicas share.
pub trait SecondLevel: fmt::Debug + Send + Sync + 'static {
    /// What is at a key, or why nothing is, within this time.
    fn find(&self, key: Key, within: Duration) -> BoxFuture<'_, Result<SharedValue, SharedMiss>>;

    /// Writes a value behind its caller, who does not wait; where there is no room, it is left out.
    fn put(&self, key: Key, value: SharedValue);
}

/// An answer as it travels.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedValue {
    /// What its process had applied of the log when its load started.
    pub since: Position,
    /// Time since the start of its load: when it is put, or when it was found. Never less than the truth.
    pub age: Duration,
    /// How long it is fresh from when it is put. Where it was found, this is what was said then.
    pub life: Duration,
    /// The part of the declared lifetime that it has.
    pub share: f64,
    /// How long its load took.
    pub took: Duration,
    /// What its tags are.
    pub tags: Arc<[Tag]>,
    /// What is kept of its metadata.
    pub metadata: Bytes,
    /// What the origin said.
    pub load: Load,
    /// The version that it gave it.
    pub version: Option<u64>,
}

/// Why the second level does not answer a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedMiss {
    /// Nothing is there.
    Absent,
    /// What is there was written by nobody who has the secret, for another key, or in another format.
    Unreadable,
    /// The server can't be reached, or refuses.
    Unavailable,
    /// It did not answer in time.
    Late,
    /// It was invalidated since its load started.
    Invalidated,
    /// It was loaded before the oldest invalidation that this process has read.
    BeforeHistory,
    /// It was loaded after a record that this process has not read yet.
    Ahead,
    /// It was loaded under another invalidation log, or after a record that the log has lost.
    OtherLog,
    /// It is older than the contract or its reader allows.
    TooOld,
}

/// The rules that a simulation takes out one by one, to see that it would notice.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a rule of its own")]
pub(crate) struct Rules {
    pub(crate) judged: bool,
    pub(crate) start_numbers: bool,
    pub(crate) epoch_first: bool,
    pub(crate) history_bounded: bool,
    pub(crate) of_one_log: bool,
    pub(crate) marks_compared: bool,
    pub(crate) age_travels: bool,
    pub(crate) waiters_judge: bool,
}

impl Rules {
    pub(crate) const ALL: Self = Self {
        judged: true,
        start_numbers: true,
        epoch_first: true,
        history_bounded: true,
        of_one_log: true,
        marks_compared: true,
        age_travels: true,
        waiters_judge: true,
    };
}
