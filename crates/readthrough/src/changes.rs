//! Changes of a namespace (change feed): a bounded log of what callers did to its keys, for those who watch it.
//!
//! Invariants:
//! - A change is in the log once it holds, and before it is acknowledged: who reads a key after it was told of a change sees it, or
//!   something newer.
//! - The changes of a key are in the order in which they were carried out. A put that was invalidated before it is in the log is left
//!   out.
//! - Whoever has fallen out of the log is told so, and is never given what comes after a gap as if there were none.
//! - Nobody is told of another tenant's changes.
//! - A tenant that has less than its share of the log loses no change to one that has more.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::change::Change;

/// Bytes that a change has room for. One that has more takes the room of several.
const BYTES_EACH: usize = 1024;

/// The log of a namespace.
#[derive(Debug)]
pub(crate) struct Changes {
    log: Mutex<Log>,
    /// How often everything was forgotten, and the number of the newest one.
    newest: watch::Sender<(u64, u64)>,
    most: usize,
}

/// Numbers are those of all tenants together, and each tenant has its own records.
#[derive(Debug, Default)]
pub(crate) struct Log {
    tenants: HashMap<Arc<str>, OfTenant>,
    /// The tenants by the room that they take, and among equals by the age of their oldest change.
    by_room: BTreeSet<(usize, Reverse<u64>, Arc<str>)>,
    room: usize,
    /// The number of the newest change.
    newest: u64,
    /// The number of the newest change that is not in the log any more, of tenants that have none there.
    forgotten: u64,
    /// How often everything was forgotten. Numbers of before say nothing.
    life: u64,
}

#[derive(Debug)]
struct OfTenant {
    records: VecDeque<Record>,
    room: usize,
    /// The number of the newest change of this tenant that is not in the log any more.
    forgotten: u64,
}

#[derive(Debug)]
struct Record {
    number: u64,
    change: Arc<Change>,
    room: usize,
}

impl OfTenant {
    /// Where it stands among the tenants.
    fn place(&self, name: &Arc<str>) -> (usize, Reverse<u64>, Arc<str>) {
        let oldest = self.records.front().map_or(0, |record| record.number);
        (self.room, Reverse(oldest), Arc::clone(name))
    }
}

impl Changes {
    /// Remembers so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { log: Mutex::default(), newest: watch::Sender::default(), most }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the newest change.
    pub(crate) fn newest(&self) -> u64 {
        self.newest.borrow().1
    }

    /// Adds a change at the end of the log, which the caller has locked.
    pub(crate) fn add(&self, log: &mut Log, tenant: &str, change: Change) {
        self.add_numbered(log, log.newest + 1, tenant, change);
    }

    /// The same with a number of its own, higher than all before it: that of an invalidation log.
    pub(crate) fn add_numbered(&self, log: &mut Log, number: u64, tenant: &str, change: Change) {
        log.push(number, tenant, change);
        while log.room > self.most * BYTES_EACH && log.forget_one() {}
        self.newest.send_replace((log.life, log.newest));
    }

    /// Forgets all changes of all tenants: whoever watches is told that he has to begin anew.
    pub(crate) fn forget_all(&self, log: &mut Log) {
        self.begin_after(log, log.newest + 1);
    }

    /// The same, and what comes next has a higher number than this.
    pub(crate) fn begin_after(&self, log: &mut Log, newest: u64) {
        *log = Log { newest, forgotten: newest, life: log.life + 1, ..Log::default() };
        self.newest.send_replace((log.life, newest));
    }
}

impl Log {
    fn push(&mut self, number: u64, tenant: &str, change: Change) {
        self.newest = number;
        let forgotten = self.forgotten;
        let bytes = change.bytes() + tenant.len() + size_of::<Record>() + size_of::<Change>();
        let room = bytes.max(BYTES_EACH);
        let name = self.by_name(tenant);
        let none = || OfTenant { records: VecDeque::new(), room: 0, forgotten };
        let own = self.tenants.entry(Arc::clone(&name)).or_insert_with(none);
        self.by_room.remove(&own.place(&name));
        own.records.push_back(Record { number, change: Arc::new(change), room });
        own.room += room;
        self.by_room.insert(own.place(&name));
        self.room += room;
    }

    fn by_name(&self, tenant: &str) -> Arc<str> {
        self.tenants.get_key_value(tenant).map_or_else(|| tenant.into(), |(name, _)| Arc::clone(name))
    }

    /// Drops the oldest change of the tenant that takes most room, unless it is the last of all; whether it did.
    fn forget_one(&mut self) -> bool {
        let is_last = self.tenants.len() == 1 && self.tenants.values().all(|own| own.records.len() == 1);
        if is_last {
            return false;
        }
        let Some((.., name)) = self.by_room.pop_last() else { return false };
        let Some(own) = self.tenants.get_mut(&name) else { return false };
        if let Some(Record { number, room, .. }) = own.records.pop_front() {
            own.forgotten = number;
            own.room -= room;
            self.room -= room;
        }
        if own.records.is_empty() {
            self.forgotten = self.forgotten.max(own.forgotten);
            self.tenants.remove(&name);
        } else {
            self.by_room.insert(own.place(&name));
        }
        true
    }

    /// The number of the newest change of a tenant that may be missing here.
    fn forgotten(&self, tenant: &str) -> u64 {
        self.tenants.get(tenant).map_or(self.forgotten, |own| own.forgotten)
    }

    /// The changes of a tenant after this number.
    fn after(&self, tenant: &str, seen: u64) -> impl Iterator<Item = &Record> {
        let records = self.tenants.get(tenant).map(|own| &own.records);
        let from = records.map_or(0, |records| records.partition_point(|record| record.number <= seen));
        records.into_iter().flat_map(move |records| records.range(from..))
    }
}

/// One who follows the changes of a tenant's keys that begin with a prefix.
#[derive(Debug)]
pub struct Watcher {
    changes: Arc<Changes>,
    newest: watch::Receiver<(u64, u64)>,
    tenant: Box<str>,
    prefix: Box<str>,
    seen: u64,
    /// Of the log.
    life: u64,
}

/// The watcher was too slow: there are changes that it was not told of, and that nobody remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("changes were forgotten before they were read")]
pub struct Lagged;

impl Watcher {
    /// From the change after this number on, which has to be one of the log's; else from now on.
    pub(crate) fn new(changes: &Arc<Changes>, tenant: &str, prefix: &str, after: Option<u64>) -> (Self, bool) {
        let log = changes.lock();
        let known = after.filter(|after| (log.forgotten(tenant)..=log.newest).contains(after));
        let seen = known.unwrap_or(log.newest);
        let (newest, life) = (changes.newest.subscribe(), log.life);
        let (tenant, prefix) = (tenant.into(), prefix.into());
        (Self { changes: Arc::clone(changes), newest, tenant, prefix, seen, life }, known.is_some())
    }

    /// The number of the last change that it has seen, or passed over because it is another's.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The next change that concerns it; nothing where there is none yet.
    pub fn take_next(&mut self) -> Result<Option<Arc<Change>>, Lagged> {
        let log = self.changes.lock();
        if self.life != log.life || self.seen < log.forgotten(&self.tenant) {
            return Err(Lagged);
        }
        let next = log.after(&self.tenant, self.seen).find(|record| record.change.may_concern(&self.prefix));
        self.seen = next.map_or(log.newest, |record| record.number);
        Ok(next.map(|record| Arc::clone(&record.change)))
    }

    /// Waits until there is a change that it has not looked at.
    pub async fn grown(&mut self) {
        let (life, seen) = (self.life, self.seen);
        // The log lives for as long as this has it.
        let _ = self.newest.wait_for(|(own, newest)| *own != life || *newest > seen).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn deleted(key: &str) -> Change {
        Change::Deleted { key: key.into(), version: None }
    }

    fn add(changes: &Changes, tenant: &str, change: Change) {
        changes.add(&mut changes.lock(), tenant, change);
    }

    fn keys(watcher: &mut Watcher) -> Vec<String> {
        let mut keys = Vec::new();
        while let Some(change) = watcher.take_next().unwrap() {
            let Change::Deleted { key, .. } = &*change else { panic!("{change:?}") };
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
        let log = changes.lock();
        assert!(log.room <= 4 * BYTES_EACH && log.tenants["north"].records.len() == 1);
        assert_eq!((log.newest, log.room, log.by_room.len()), (100, log.tenants["north"].room, 1));
    }

    #[test]
    fn busy_tenant_pushes_no_change_of_a_quiet_one_out() {
        let changes = Arc::new(Changes::new(10));
        add(&changes, "quiet", deleted("a"));
        let (mut watcher, _) = Watcher::new(&changes, "quiet", "", Some(0));
        for n in 0..1000 {
            add(&changes, "busy", deleted(&n.to_string()));
        }
        assert_eq!(keys(&mut watcher), ["a"]);
        assert!(
            Watcher::new(&changes, "quiet", "", Some(1)).1,
            "its token is good for as long as its changes are there"
        );
        assert!(!Watcher::new(&changes, "busy", "", Some(1)).1);
    }

    #[test]
    fn tenants_beyond_the_room_lose_changes_and_are_told_so() {
        let changes = Arc::new(Changes::new(3));
        let (mut watcher, _) = Watcher::new(&changes, "t0", "", None);
        for n in 0..10 {
            add(&changes, &format!("t{n}"), deleted("a"));
        }
        let log = changes.lock();
        assert_eq!((log.tenants.len(), log.by_room.len()), (3, 3));
        drop(log);
        assert_eq!(watcher.take_next(), Err(Lagged));
    }

    #[test]
    fn invalidation_of_a_shorter_or_longer_prefix_concerns_a_watcher_of_a_prefix() {
        let invalidated = |prefix: &str| Change::PrefixInvalidated(prefix.into()).may_concern("user/1");
        assert_eq!(["", "user/", "user/12", "cart/"].map(invalidated), [true, true, true, false]);
    }

    #[test]
    fn watchers_of_all_tenants_begin_anew_where_all_changes_are_forgotten() {
        let changes = Arc::new(Changes::new(10));
        add(&changes, "north", deleted("a"));
        let [(mut north, _), (mut south, _)] =
            ["north", "south"].map(|tenant| Watcher::new(&changes, tenant, "", None));
        changes.forget_all(&mut changes.lock());
        assert!(north.grown().now_or_never().is_some());
        assert_eq!((north.take_next(), south.take_next()), (Err(Lagged), Err(Lagged)));
        assert!(!Watcher::new(&changes, "north", "", Some(1)).1);
    }

    #[test]
    fn watcher_begins_anew_where_numbers_begin_anew() {
        let changes = Arc::new(Changes::new(10));
        changes.add_numbered(&mut changes.lock(), 500, "north", deleted("a"));
        let (mut watcher, _) = Watcher::new(&changes, "north", "", None);
        changes.begin_after(&mut changes.lock(), 3);
        assert!(watcher.grown().now_or_never().is_some(), "though no number is higher than what it has seen");
        changes.add_numbered(&mut changes.lock(), 600, "north", deleted("b"));
        assert_eq!(watcher.take_next(), Err(Lagged));
        assert!(Watcher::new(&changes, "north", "", Some(3)).1);
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
