//! Changes of a namespace (change feed): a bounded log of what callers did to its keys, for those who watch it.
//!
//! Invariants:
//! - A change is in the log once it holds, and before it is acknowledged: who reads a key after it was told of a change sees it, or
//!   something newer.
//! - The changes of a key are in the order in which they were carried out. A put that was invalidated before it is in the log is left
//!   out.
//! - Whoever has fallen out of the log is told so, and is never given what comes after a gap as if there were none.
//! - Nobody is told of another tenant's changes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Bytes that a change may have on average. Those that have more leave room for fewer.
const BYTES_EACH: usize = 1024;

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A value was put under a key, of this version.
    Put {
        /// The key.
        key: Box<str>,
        /// Its version, and that of its origin, if it has one.
        version: (u64, Option<u64>),
    },
    /// A key was deleted.
    Deleted(Box<str>),
    /// What a key held was forgotten: nobody knows what its origin has.
    Forgotten(Box<str>),
    /// What was put under these tags was invalidated.
    TagsInvalidated(Box<[String]>),
    /// All keys that begin so were invalidated.
    PrefixInvalidated(Box<str>),
}

impl Change {
    fn bytes(&self) -> usize {
        match self {
            Self::Put { key: text, .. }
            | Self::Deleted(text)
            | Self::Forgotten(text)
            | Self::PrefixInvalidated(text) => text.len(),
            Self::TagsInvalidated(tags) => tags.iter().map(|tag| tag.len() + size_of::<String>()).sum(),
        }
    }

    /// Whether it may concern a key that begins so.
    fn may_concern(&self, prefix: &str) -> bool {
        match self {
            Self::Put { key, .. } | Self::Deleted(key) | Self::Forgotten(key) => key.starts_with(prefix),
            Self::TagsInvalidated(_) => true,
            Self::PrefixInvalidated(other) => other.starts_with(prefix) || prefix.starts_with(&**other),
        }
    }
}

/// The log of a namespace.
#[derive(Debug)]
pub(crate) struct Changes {
    log: Mutex<Log>,
    /// The number of the newest one.
    newest: watch::Sender<u64>,
    most: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    records: VecDeque<Record>,
    bytes: usize,
    /// The number of the newest change that is not in the log any more.
    forgotten: u64,
}

#[derive(Debug)]
struct Record {
    tenant: Box<str>,
    change: Arc<Change>,
    bytes: usize,
}

impl Changes {
    /// Remembers so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { log: Mutex::default(), newest: watch::Sender::new(0), most }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a change at the end of the log, which the caller has locked.
    pub(crate) fn add(&self, log: &mut Log, tenant: &str, change: Change) {
        let bytes = change.bytes() + tenant.len() + size_of::<Record>() + size_of::<Change>();
        log.records.push_back(Record { tenant: tenant.into(), change: Arc::new(change), bytes });
        log.bytes += bytes;
        while log.records.len() > self.most || (log.bytes > self.most * BYTES_EACH && log.records.len() > 1) {
            let oldest = log.records.pop_front();
            log.bytes -= oldest.map_or(0, |oldest| oldest.bytes);
            log.forgotten += 1;
        }
        self.newest.send_replace(log.newest());
    }
}

impl Log {
    fn newest(&self) -> u64 {
        self.forgotten + self.records.len() as u64
    }

    fn record(&self, number: u64) -> Option<&Record> {
        let index = number.checked_sub(self.forgotten + 1)?;
        self.records.get(usize::try_from(index).ok()?)
    }
}

/// One who follows the changes of a tenant's keys that begin with a prefix.
#[derive(Debug)]
pub struct Watcher {
    changes: Arc<Changes>,
    newest: watch::Receiver<u64>,
    tenant: Box<str>,
    prefix: Box<str>,
    seen: u64,
}

/// The watcher was too slow: there are changes that it was not told of, and that nobody remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("changes were forgotten before they were read")]
pub struct Lagged;

impl Watcher {
    /// From the change after this number on, which has to be one of the log's; else from now on.
    pub(crate) fn new(changes: &Arc<Changes>, tenant: &str, prefix: &str, after: Option<u64>) -> (Self, bool) {
        let log = changes.lock();
        let known = after.filter(|after| (log.forgotten..=log.newest()).contains(after));
        let seen = known.unwrap_or_else(|| log.newest());
        let newest = changes.newest.subscribe();
        let watcher = Self { changes: Arc::clone(changes), newest, tenant: tenant.into(), prefix: prefix.into(), seen };
        (watcher, known.is_some())
    }

    /// The number of the last change that it has seen, or passed over because it is another's.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The next change that concerns it; nothing where there is none yet.
    pub fn take_next(&mut self) -> Result<Option<Arc<Change>>, Lagged> {
        let log = self.changes.lock();
        if self.seen < log.forgotten {
            return Err(Lagged);
        }
        while let Some(record) = log.record(self.seen + 1) {
            self.seen += 1;
            if record.tenant == self.tenant && record.change.may_concern(&self.prefix) {
                return Ok(Some(Arc::clone(&record.change)));
            }
        }
        Ok(None)
    }

    /// Waits until there is a change that it has not looked at.
    pub async fn grown(&mut self) {
        let seen = self.seen;
        // The log lives for as long as this has it.
        let _ = self.newest.wait_for(|newest| *newest > seen).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn deleted(key: &str) -> Change {
        Change::Deleted(key.into())
    }

    fn add(changes: &Changes, tenant: &str, change: Change) {
        changes.add(&mut changes.lock(), tenant, change);
    }

    fn keys(watcher: &mut Watcher) -> Vec<String> {
        let mut keys = Vec::new();
        while let Some(change) = watcher.take_next().unwrap() {
            let Change::Deleted(key) = &*change else { panic!("{change:?}") };
            keys.push(key.to_string());
        }
        keys
    }

    #[test]
    fn watcher_is_told_of_its_tenants_keys_with_its_prefix_in_order() {
        let changes = Arc::new(Changes::new(10));
        let (mut watcher, _) = Watcher::new(&changes, "north", "a/", None);
        for (tenant, key) in [("north", "a/1"), ("south", "a/2"), ("north", "b/1"), ("north", "a/3")] {
            add(&changes, tenant, deleted(key));
        }
        assert_eq!(keys(&mut watcher), ["a/1", "a/3"]);
        assert_eq!(watcher.seen(), 4);
    }

    #[test]
    fn watcher_resumes_after_the_change_that_it_saw_last() {
        let changes = Arc::new(Changes::new(10));
        for key in ["a", "b", "c"] {
            add(&changes, "north", deleted(key));
        }
        let (mut watcher, is_whole) = Watcher::new(&changes, "north", "", Some(1));
        assert_eq!((is_whole, keys(&mut watcher)), (true, vec!["b".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn number_that_the_log_does_not_reach_back_to_or_never_gave_resumes_from_now() {
        let changes = Arc::new(Changes::new(2));
        for key in ["a", "b", "c", "d"] {
            add(&changes, "north", deleted(key));
        }
        for (after, is_whole) in [(1, false), (2, true), (4, true), (5, false)] {
            assert_eq!(Watcher::new(&changes, "north", "", Some(after)).1, is_whole, "{after}");
        }
        let (mut watcher, _) = Watcher::new(&changes, "north", "", Some(1));
        assert_eq!(keys(&mut watcher), [""; 0]);
    }

    #[test]
    fn watcher_that_fell_out_of_the_log_is_told_so() {
        let changes = Arc::new(Changes::new(2));
        let (mut watcher, _) = Watcher::new(&changes, "north", "", None);
        for key in ["a", "b", "c"] {
            add(&changes, "north", deleted(key));
        }
        assert_eq!(watcher.take_next(), Err(Lagged));
    }

    #[test]
    fn log_is_bounded_in_bytes() {
        let changes = Changes::new(4);
        for _ in 0..100 {
            add(&changes, "north", deleted(&"k".repeat(3000)));
        }
        assert!(changes.lock().bytes <= 4 * BYTES_EACH && !changes.lock().records.is_empty());
        assert_eq!(changes.lock().newest(), 100);
    }

    #[test]
    fn invalidation_of_a_shorter_or_longer_prefix_concerns_a_watcher_of_a_prefix() {
        let invalidated = |prefix: &str| Change::PrefixInvalidated(prefix.into()).may_concern("user/1");
        assert_eq!(["", "user/", "user/12", "cart/"].map(invalidated), [true, true, true, false]);
    }

    #[test]
    fn watcher_waits_until_the_log_grows() {
        let changes = Arc::new(Changes::new(10));
        let (mut watcher, _) = Watcher::new(&changes, "north", "", None);
        assert!(watcher.grown().now_or_never().is_none());
        add(&changes, "south", deleted("a"));
        assert!(watcher.grown().now_or_never().is_some());
    }
}
