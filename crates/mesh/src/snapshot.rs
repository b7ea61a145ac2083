//! Revocation snapshot: what this binary knows about keys and revoked tokens, and how old that is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use accord_api::accord::auth::v1::{ContextAttribute, Key, StoreMark, WatchResponse};
use accord_token::{PolicyReads, PublicKey, RevocationSnapshot, RevocationUpdate};
use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, futures::Notified},
    time::Instant,
};

/// A snapshot that is replaced while it is read, with its age.
pub(crate) struct LatestSnapshot {
    snapshot: ArcSwap<RevocationSnapshot>,
    /// Milliseconds from `start` to the asking of the newest answered question; 0 where none was answered.
    as_of: AtomicU64,
    start: Instant,
    answered: Notify,
}

impl LatestSnapshot {
    pub(crate) fn none() -> Self {
        // A little in the past, so that no real moment is 0.
        let start = Instant::now().checked_sub(Duration::from_millis(1)).unwrap_or_else(Instant::now);
        Self { snapshot: ArcSwap::default(), as_of: AtomicU64::new(0), start, answered: Notify::new() }
    }

    /// The newest snapshot; None where it is older than the bound.
    pub(crate) fn within(&self, bound: Duration) -> Option<Arc<RevocationSnapshot>> {
        // The age is read before the content: the other order could pair old content with a newer age.
        self.fresh_for(bound)?;
        Some(self.snapshot.load_full())
    }

    /// How much longer the snapshot is within the bound if no answer comes; None where it is not.
    pub(crate) fn fresh_for(&self, bound: Duration) -> Option<Duration> {
        let as_of = Some(self.as_of.load(Ordering::Acquire)).filter(|as_of| *as_of > 0)?;
        let age = self.start.elapsed().checked_sub(Duration::from_millis(as_of))?;
        bound.checked_sub(age)
    }

    /// How old it is; since the start where none came yet.
    pub(crate) fn age(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.as_of.load(Ordering::Acquire)))
    }

    /// How far auth's store was seen to have come; None while nothing is known.
    pub(crate) fn seen(&self) -> Option<StoreMark> {
        let snapshot = self.snapshot.load();
        let RevocationSnapshot { store, revision, global_epoch, .. } = **snapshot;
        (store > 0).then_some(StoreMark { store, revision, global_epoch })
    }

    /// Ends with the next answer to a question after this call.
    pub(crate) fn answered(&self) -> Notified<'_> {
        self.answered.notified()
    }

    /// Applies news, and with it the answer to a question asked at that moment. News alone makes nothing fresher: it
    /// says what changed, not that nothing else did.
    pub(crate) fn apply(&self, news: WatchResponse, sent_at: Option<Instant>, now: i64) {
        let current = self.snapshot.load();
        let is_other_policy = *news.policy_hash != *current.policy_hash;
        if news.full || news.revision != current.revision || is_other_policy {
            self.snapshot.store(Arc::new(current.updated(update(news), now)));
        }
        if let Some(sent_at) = sent_at {
            let millis = u64::try_from(sent_at.duration_since(self.start).as_millis()).unwrap_or(0);
            self.as_of.fetch_max(millis, Ordering::Release);
            self.answered.notify_waiters();
        }
    }
}

fn update(news: WatchResponse) -> RevocationUpdate {
    // An answer without keys says nothing about them; one with keys names all that are published.
    let keys = (!news.keys.is_empty()).then(|| news.keys.iter().filter_map(published).collect());
    let reads = |attribute: ContextAttribute| news.policy_reads.contains(&attribute.into());
    RevocationUpdate {
        store: news.store,
        revision: news.revision,
        full: news.full,
        keys,
        subjects: news.subjects.into_iter().map(|subject| (subject.subject.into(), subject.epoch)).collect(),
        tokens: news.tokens.into_iter().map(|token| (token.jti.into(), token.expires_at)).collect(),
        global_epoch: news.global_epoch,
        policy_reads: PolicyReads {
            address: reads(ContextAttribute::Address),
            protocol: reads(ContextAttribute::Protocol),
            time: reads(ContextAttribute::Time),
        },
        policy_hash: news.policy_hash.into(),
        relations_version: news.relations_version,
    }
}

fn published(key: &Key) -> Option<PublicKey> {
    PublicKey::published(&key.kid, &key.alg, &key.public_key)
}

#[cfg(test)]
mod tests;
