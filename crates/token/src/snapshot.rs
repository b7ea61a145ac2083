//! Revocation snapshot: what a verifier knows about keys and revoked tokens.

use std::sync::Arc;

use crate::{
    claims::{Claims, forgotten_before},
    keys::KeySet,
    shared_map::SharedMap,
};

/// Keys, revocations and the policy set in force.
#[derive(Clone, Debug, Default)]
pub struct RevocationSnapshot {
    /// Auth's store; another one has nothing in common with it. 0 where none is known.
    pub store: u64,
    /// Rises with every change.
    pub revision: u64,
    /// Published keys.
    pub keys: KeySet,
    /// The lowest good epoch of each subject whose older tokens are revoked.
    pub subjects: SharedMap<u64>,
    /// Single revoked tokens, and API keys: `jti` or key, and when the last token would have ended.
    pub tokens: SharedMap<i64>,
    /// The lowest good global epoch.
    pub global_epoch: u64,
    /// The policy set in force.
    pub policy_hash: Arc<str>,
    /// What it looks at of a call.
    pub policy_reads: PolicyReads,
    /// The version of all relations that policies can look at.
    pub relations_version: u64,
}

/// What policies look at of a call, beside its principal and its method. A decision holds for calls alike in these alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyReads {
    /// Where it comes from.
    pub address: bool,
    /// How its principal calls.
    pub protocol: bool,
    /// When it comes, or how old its token is.
    pub time: bool,
}

impl RevocationSnapshot {
    /// Whether a token that says this was revoked. A passport falls with the access token it came from, and both with their API
    /// key.
    pub fn revokes(&self, claims: &Claims) -> bool {
        claims.gep < self.global_epoch
            || self.subjects.get(&claims.sub).is_some_and(|epoch| claims.ep < *epoch)
            || self.tokens.contains_key(&claims.jti)
            || [&claims.ptj, &claims.key].into_iter().flatten().any(|source| self.tokens.contains_key(source))
    }

    /// The snapshot once this update is applied. Revocations of tokens that have ended on every clock are forgotten.
    #[must_use]
    pub fn updated(&self, update: RevocationUpdate, now: i64) -> Self {
        let mut next = if update.full { Self::default() } else { self.clone() };
        (next.store, next.revision) = (update.store, update.revision);
        if let Some(keys) = update.keys {
            next.keys = keys;
        }
        next.subjects.extend(update.subjects);
        next.tokens.extend(update.tokens);
        let forgotten = forgotten_before(now);
        next.tokens.retain(|ends| *ends >= forgotten);
        next.global_epoch = next.global_epoch.max(update.global_epoch);
        (next.policy_hash, next.policy_reads) = (update.policy_hash, update.policy_reads);
        next.relations_version = update.relations_version;
        next
    }
}

/// What auth says has changed.
#[derive(Clone, Debug, Default)]
pub struct RevocationUpdate {
    /// Whose it is.
    pub store: u64,
    /// The revision that it leads to.
    pub revision: u64,
    /// Whether it replaces everything known before.
    pub full: bool,
    /// All published keys, where they changed.
    pub keys: Option<KeySet>,
    /// Subjects whose older tokens are revoked, and the lowest good epoch of each.
    pub subjects: Vec<(Arc<str>, u64)>,
    /// Single revoked tokens: `jti`, and when the token would have ended, in seconds since 1970.
    pub tokens: Vec<(Arc<str>, i64)>,
    /// The lowest good global epoch.
    pub global_epoch: u64,
    /// The policy set in force.
    pub policy_hash: Arc<str>,
    /// What it looks at of a call.
    pub policy_reads: PolicyReads,
    /// The version of all relations that policies can look at.
    pub relations_version: u64,
}

#[cfg(test)]
mod tests;
