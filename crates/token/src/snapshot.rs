//! What a verifier knows about keys and revocations, and how old that knowledge is.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use accord_api::accord::auth::v1::WatchResponse;
use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::{
    claims::{Claims, LEEWAY},
    keys::{KeySet, PublicKey},
};

/// Keys, revocations and the policy set in force.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Rises with every change.
    pub revision: u64,
    /// Published keys.
    pub keys: KeySet,
    /// The lowest good epoch of each subject whose older tokens are revoked.
    pub subjects: HashMap<String, u64>,
    /// Single revoked tokens: `jti`, and when the token would have ended.
    pub tokens: HashMap<String, i64>,
    /// The lowest good global epoch.
    pub global_epoch: u64,
    /// The policy set in force.
    pub policy_hash: Arc<str>,
}

impl Snapshot {
    /// Whether a token that says this was revoked. A passport falls with the access token it came from.
    pub fn revokes(&self, claims: &Claims) -> bool {
        claims.gep < self.global_epoch
            || self.subjects.get(&claims.sub).is_some_and(|epoch| claims.ep < *epoch)
            || self.tokens.contains_key(&claims.jti)
            || claims.ptj.as_ref().is_some_and(|parent| self.tokens.contains_key(parent))
    }

    /// What is known once this news is applied. Revocations of tokens that ended before `now` are forgotten.
    #[must_use]
    pub fn updated(&self, news: WatchResponse, now: i64) -> Self {
        let mut next = if news.full { Self::default() } else { self.clone() };
        next.revision = news.revision;
        if !news.keys.is_empty() {
            next.keys = news.keys.iter().filter_map(PublicKey::read).collect();
        }
        next.subjects.extend(news.subjects.into_iter().map(|subject| (subject.subject, subject.epoch)));
        next.tokens.extend(news.tokens.into_iter().map(|token| (token.jti, token.expires_at)));
        // Twice the leeway: once for the clock that wrote the token, once for the one that reads it.
        let forgotten = now - 2 * i64::try_from(LEEWAY.as_secs()).unwrap_or(0);
        next.tokens.retain(|_, ends| *ends >= forgotten);
        next.global_epoch = next.global_epoch.max(news.global_epoch);
        next.policy_hash = news.policy_hash.into();
        next
    }
}

/// A snapshot that is replaced while it is read, with its age.
pub(crate) struct Knowledge {
    snapshot: ArcSwap<Snapshot>,
    /// Milliseconds from `start` to the asking of the newest answered question; 0 where none was answered.
    as_of: AtomicU64,
    start: Instant,
}

impl Knowledge {
    pub fn none() -> Self {
        // A little in the past, so that no real moment is 0.
        let start = Instant::now().checked_sub(Duration::from_millis(1)).unwrap_or_else(Instant::now);
        Self { snapshot: ArcSwap::default(), as_of: AtomicU64::new(0), start }
    }

    /// The newest snapshot; None where it is older than the bound.
    pub fn within(&self, bound: Duration) -> Option<Arc<Snapshot>> {
        // The age is read before the content: the other order could pair old content with a newer age.
        let as_of = self.as_of.load(Ordering::Acquire);
        let snapshot = self.snapshot.load_full();
        let age = self.start.elapsed().checked_sub(Duration::from_millis(as_of))?;
        (as_of > 0 && age <= bound).then_some(snapshot)
    }

    /// Applies news, and with it the answer to a question asked at that moment. News alone makes nothing fresher: it
    /// says what changed, not that nothing else did.
    pub fn learn(&self, news: WatchResponse, asked: Option<Instant>, now: i64) {
        let current = self.snapshot.load();
        if news.full || news.revision != current.revision {
            self.snapshot.store(Arc::new(current.updated(news, now)));
        }
        if let Some(asked) = asked {
            let millis = u64::try_from(asked.duration_since(self.start).as_millis()).unwrap_or(0);
            self.as_of.fetch_max(millis, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests;
