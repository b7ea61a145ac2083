//! What the origin of a namespace that is written through has committed: the truth that its callers are held against.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::{ConsistencyToken, NamespaceLimits};

/// A namespace of replicas, with less room than its keys would take.
pub(super) const NAMESPACE: &str = "ledger";
pub(super) const QUOTA: NamespaceLimits = NamespaceLimits { bytes: 3_000, entries: 4, changes: 100 };

pub(super) const KEYS: [&str; 2] = ["a", "b"];

/// Calls of objects are below it.
pub(super) const FIRST_CALL: u8 = 100;

/// The key that a call of the origin is about, if it is about one.
pub(super) fn of_call(call: u8) -> Option<&'static str> {
    KEYS.get(usize::from(call.checked_sub(FIRST_CALL)?)).copied()
}

/// What the origin has of a key after a commit: the commit's number where there is a value.
#[derive(Clone, Copy, Debug)]
struct Commit {
    number: u64,
    is_value: bool,
}

/// What a read must be told no less than.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floor {
    /// The newest commit that was acknowledged to everybody, or that its reader requires for another reason than a token.
    pub acknowledged: u64,
    /// The newest commit that its tokens stand for.
    pub seen: u64,
}

/// The origin: all commits of each key, and the last one that was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Truth {
    commits: BTreeMap<&'static str, Vec<Commit>>,
    acknowledged: BTreeMap<&'static str, u64>,
    count: u64,
    /// Of the newest write or read of a session, by key: up to which commit it has seen, and its token.
    sessions: BTreeMap<&'static str, (u64, ConsistencyToken)>,
    pub written: u64,
    pub broken: Option<String>,
}

impl Truth {
    pub(super) fn commit(&mut self, key: &'static str, is_value: bool) -> u64 {
        self.count += 1;
        self.commits.entry(key).or_default().push(Commit { number: self.count, is_value });
        self.count
    }

    /// The same, and the value that was there before.
    pub(super) fn replace(&mut self, key: &'static str, is_value: bool) -> (u64, Option<u64>) {
        let before = self.current(key);
        (self.commit(key, is_value), before)
    }

    pub(super) fn acknowledge(&mut self, key: &'static str, number: u64) {
        let acknowledged = self.acknowledged.entry(key).or_default();
        *acknowledged = number.max(*acknowledged);
        self.written += 1;
    }

    /// The last commit that was acknowledged.
    pub(super) fn acknowledged(&self, key: &'static str) -> u64 {
        self.acknowledged.get(key).copied().unwrap_or_default()
    }

    /// The last commit, told or not.
    pub(super) fn latest(&self, key: &'static str) -> u64 {
        self.commits.get(key).and_then(|commits| commits.last()).map_or(0, |commit| commit.number)
    }

    /// The session has seen this commit, and was told this token.
    pub(super) fn told(&mut self, key: &'static str, number: u64, token: ConsistencyToken) {
        let session = self.sessions.entry(key).or_default();
        if number >= session.0 {
            *session = (number, token);
        }
    }

    /// What the session has seen, and its token.
    pub(super) fn session(&self, key: &'static str) -> Option<(u64, ConsistencyToken)> {
        self.sessions.get(key).copied()
    }

    /// The value that the key has now.
    pub(super) fn current(&self, key: &'static str) -> Option<u64> {
        self.commits.get(key)?.last().filter(|commit| commit.is_value).map(|commit| commit.number)
    }

    /// Whether the key was so at some time since this commit.
    fn was_since(&self, key: &'static str, value: Option<u64>, floor: u64) -> bool {
        let commits = self.commits.get(key).map_or(&[][..], Vec::as_slice);
        let mut since = commits.iter().filter(|commit| commit.number >= floor);
        match value {
            Some(number) => since.any(|commit| commit.is_value && commit.number == number),
            None => floor == 0 || since.any(|commit| !commit.is_value),
        }
    }

    pub(super) fn see(&mut self, key: &'static str, value: Option<u64>, floor: Floor) {
        let Floor { acknowledged, seen } = floor;
        if !self.was_since(key, value, acknowledged) {
            self.broken.get_or_insert(format!("I6: {key} was {value:?}, and {acknowledged} had been acknowledged"));
        }
        if !self.was_since(key, value, seen) {
            self.broken.get_or_insert(format!("I3: {key} was {value:?}, and the token of {seen} was passed"));
        }
    }
}

/// What a load of such a key needs.
#[derive(Clone)]
pub(super) struct ThroughCall {
    pub key: &'static str,
    pub truth: Arc<Mutex<Truth>>,
}
