//! The invalidation log: one order of all invalidations, for one process of a cache or for several that share it.
//!
//! A seam of two operations, each of them one transaction. What a log has to keep to:
//! 1. Numbers are given under one lock and commit in their order: whoever reads up to a number has read all before it.
//! 2. Appending reads the register of replicas in the transaction that gives the number. So a replica that registers later
//!    reads the number when it registers.
//! 3. Verifying writes the register and reads what is new in one transaction. Of two verifications of one replica the one with
//!    the higher counter stays.
//! 4. A registration does not expire. Only a replica strikes off another one, and only where that one's counter is unchanged.
//! 5. The gap detector belongs to the log and not to a replica: a sender may tell each batch to another one, and what is known of
//!    senders, their sequences and their heartbeats is as ordered as the batches are. Its times are by the log's own clock; one
//!    that is set forward costs a flush, and one that is set back keeps newcomers waiting.
//! 6. Numbers may come twice, where a database fails over and has lost what it had committed. So each record has a random mark, and
//!    a replica says the mark of what it has seen. Where the log has another one, or none, nothing counts as confirmed by it.
//!
//! An operation whose outcome is unknown is tried again: repeating it is harmless.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use crate::change::NamespaceChange;
use crate::gap_detector::{Batch, Continuity, GapDetector, Noted};
use crate::key::Tag;
use crate::lease::LeaseHolder;
use crate::world::World;

/// Where invalidations get their order.
pub trait InvalidationLog: Send + Sync + 'static {
    /// Appends these batches, all or none.
    fn append(&self, batches: &[Invalidation]) -> impl Future<Output = Result<Appended, LogError>> + Send;

    /// Registers a replica, and reads what it has not seen.
    fn verify(&self, verification: &Verification) -> impl Future<Output = Result<Verified, LogError>> + Send;
}

/// A log that could not be asked, or whose answer did not come: what was asked for may have been done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the invalidation log does not answer: {0}")]
pub struct LogError(pub String);

/// A batch of a sender.
#[derive(Clone, Debug)]
pub struct Invalidation {
    /// A random name for each run of a sender; empty where it loses nothing, and nothing is missing before it.
    pub sender: String,
    /// Counts its batches, from 1. One that repeats the newest is a heartbeat.
    pub sequence: u64,
    /// The newest round that the sender was told.
    pub round: u64,
    /// Whether the sender ends here.
    pub is_last: bool,
    /// Whether it invalidates everything that was loaded, whatever its tags.
    pub is_flush: bool,
    /// What it invalidates.
    pub tags: Arc<[Tag]>,
    /// Whose leases nobody waits for: the sender forgets its own copies when the batch is acknowledged.
    pub writer: Option<LeaseHolder>,
    /// What was done to keys of a namespace.
    pub change: Option<Arc<NamespaceChange>>,
}

impl Invalidation {
    /// What an outbox says, which keeps its rows until they are appended.
    pub fn of_outbox(tags: Arc<[Tag]>, is_flush: bool) -> Self {
        Self { is_flush, tags, ..Self::of_nobody() }
    }

    /// What was done to keys of a namespace. It is told after it was done, and again where that got lost.
    pub fn of_namespace(change: NamespaceChange) -> Self {
        Self { change: Some(Arc::new(change)), ..Self::of_nobody() }
    }

    fn of_nobody() -> Self {
        let (sender, tags) = (String::new(), Arc::default());
        Self { sender, sequence: 0, round: 0, is_last: false, is_flush: false, tags, writer: None, change: None }
    }
}

/// What stands in the log under a number.
#[derive(Clone, Debug)]
pub struct Record {
    /// Counts from 1.
    pub number: u64,
    /// Everything is invalidated, whatever its tags: invalidations may be missing.
    pub is_flush: bool,
    /// The tags that are.
    pub tags: Arc<[Tag]>,
    /// Whose leases nobody waits for.
    pub writer: Option<LeaseHolder>,
    /// Random: another record of this number, after the database lost this one, has another.
    pub mark: u64,
    /// What was done to keys of a namespace.
    pub change: Option<Arc<NamespaceChange>>,
}

/// A replica in the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// A random name for each run of a replica.
    pub replica: u128,
    /// Counts its verifications.
    pub counter: u64,
    /// Neither it nor anybody who holds its leases answers with what this number or one before it is about.
    pub confirmed: u64,
}

/// What came of appending.
#[derive(Clone, Debug)]
pub struct Appended {
    /// This log's own: another one has another.
    pub incarnation: u128,
    /// For each batch, what the gap detector says, and the number of its record. A heartbeat needs none.
    pub noted: Vec<(Noted, Option<u64>)>,
    /// The newest number in the log.
    pub head: u64,
    /// The register.
    pub members: Vec<Member>,
}

/// What a replica writes into the register.
#[derive(Clone, Debug)]
pub struct Verification {
    /// What is written.
    pub member: Member,
    /// The newest number that it has read.
    pub seen: u64,
    /// The mark of that number's record; 0 where there is none.
    pub seen_mark: u64,
    /// Replicas that are struck off where their counter is still this one.
    pub silent: Vec<(u128, u64)>,
    /// The replica ends, and answers with nothing any more: it is taken out of the register.
    pub is_last: bool,
}

/// What a replica reads.
#[derive(Clone, Debug)]
pub struct Verified {
    /// This log's own.
    pub incarnation: u128,
    /// The oldest number that is kept, or will be given.
    pub oldest: u64,
    /// The newest number in the log.
    pub head: u64,
    /// The mark of its record; 0 where there is none.
    pub head_mark: u64,
    /// Whether the log has the record that the replica has seen last.
    pub has_seen: bool,
    /// What comes after the number seen. Not all of it where it is much.
    pub records: Vec<Record>,
    /// The register.
    pub members: Vec<Member>,
}

impl Verified {
    /// The number before the oldest record, and its mark, where that is known.
    pub(crate) fn before(&self) -> (u64, Option<u64>) {
        let number = self.oldest.saturating_sub(1);
        let mark = if number == 0 { Some(0) } else { Some(self.head_mark).filter(|_| number == self.head) };
        (number, mark)
    }
}

/// Gives batches their numbers, in any log: what the gap detector says of each, and the records to be written. `head` is the newest
/// number so far, and `mark` a random one. To be called under the log's lock.
pub fn number(
    batches: &[Invalidation],
    head: u64,
    mark: u64,
    mut note: impl FnMut(&Batch<'_>) -> Noted,
) -> (Vec<(Noted, Option<u64>)>, Vec<Record>) {
    let mut records = Vec::new();
    let noted = batches.iter().map(|batch| {
        let Invalidation { sender, sequence, round, is_last, is_flush, tags, writer, change } = batch;
        let noted = match &**sender {
            "" => Noted { continuity: Continuity::InOrder, is_settled: true, round: 0 },
            sender => note(&Batch { incarnation: sender, sequence: *sequence, round: *round, is_last: *is_last }),
        };
        let is_flush = *is_flush || matches!(noted.continuity, Continuity::Gap(_));
        // A number for each batch that changes anything, even where it was here before: what is acknowledged is its own number.
        let number = (is_flush || !tags.is_empty() || change.is_some()).then(|| {
            let (number, tags, change) = (head + 1 + records.len() as u64, Arc::clone(tags), change.clone());
            records.push(Record { number, is_flush, tags, writer: *writer, mark, change });
            number
        });
        (noted, number)
    });
    (noted.collect(), records)
}

/// The log of a process that is alone. Nobody else is in its register.
#[derive(Debug)]
pub struct InProcessLog<W> {
    world: W,
    incarnation: u128,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    gap_detector: GapDetector,
    head: u64,
    unread: Vec<Record>,
}

impl<W: World> InProcessLog<W> {
    /// An empty log that remembers this many senders.
    pub fn new(world: W, incarnation: u128, senders: usize) -> Self {
        let gap_detector = GapDetector::new(senders.max(1), world.now());
        Self { world, incarnation, state: Mutex::new(State { gap_detector, head: 0, unread: Vec::new() }) }
    }
}

impl<W: World> InvalidationLog for InProcessLog<W> {
    async fn append(&self, batches: &[Invalidation]) -> Result<Appended, LogError> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { gap_detector, head, unread } = &mut *guard;
        let now = self.world.now();
        let (noted, records) = number(batches, *head, 0, |batch| gap_detector.note(batch, now));
        *head += records.len() as u64;
        unread.extend(records);
        Ok(Appended { incarnation: self.incarnation, noted, head: *head, members: Vec::new() })
    }

    async fn verify(&self, verification: &Verification) -> Result<Verified, LogError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let records = std::mem::take(&mut state.unread);
        let (incarnation, oldest) = (self.incarnation, verification.seen + 1);
        let (head, head_mark, members) = (state.head, 0, Vec::new());
        Ok(Verified { incarnation, oldest, head, head_mark, has_seen: true, records, members })
    }
}
