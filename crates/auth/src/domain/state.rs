//! What auth knows right now: keys and revocations.
//!
//! Invariant: nothing is answered from memory alone. Every use reads the store's revision first, so that a change made
//! by another process counts at once, and a store that is down stops every answer.

use std::{sync::Arc, time::Duration};

use accord_token::{Algorithm, KeySet, PublicKey, RevocationSnapshot, RevocationUpdate, SigningKey, verify};
use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};

use super::{
    encryption_key::EncryptionKey,
    key_rotation::{KeyRotationError, ensure_key},
};
use crate::store::{
    Store, StoreError,
    keys::StoredKey,
    revocations::{Revocations, Revoked},
    within,
};

/// How long reading a new state may take: long after a restart with much to know, short with what is new.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The state at one revision.
pub struct AuthState {
    /// Everything revoked that still matters.
    pub revocations: Revocations,
    /// The published keys.
    pub published: Vec<PublicKey>,
    /// As a verifier sees it.
    pub snapshot: RevocationSnapshot,
    /// Private halves, with the moments between which they sign, oldest first.
    signing: Vec<(StoredKey, Arc<SigningKey>)>,
    /// Why keys whose time to sign is now or still to come can't sign here.
    pub unusable: Vec<KeyRotationError>,
}

/// The newest state; each use is validated against the store.
pub struct StateCache {
    store: Store,
    encryption_key: Arc<EncryptionKey>,
    /// Of a key that is made where there is none.
    algorithm: Algorithm,
    state: ArcSwap<AuthState>,
    reading: Mutex<()>,
    revisions: watch::Sender<u64>,
}

impl StateCache {
    /// Reads the first state.
    pub async fn open(
        store: Store,
        encryption_key: Arc<EncryptionKey>,
        algorithm: Algorithm,
    ) -> Result<Self, StoreError> {
        let state = AuthState::read(&store, &encryption_key, &Revocations::default()).await?;
        let (revisions, _) = watch::channel(state.revocations.revision);
        let state = ArcSwap::from_pointee(state);
        Ok(Self { store, encryption_key, algorithm, state, reading: Mutex::new(()), revisions })
    }

    /// The state that is true now.
    pub async fn current(&self) -> Result<Arc<AuthState>, StoreError> {
        // Before the store is asked: what it says is no less, unless an older copy was put in its place under this process.
        let known = self.state.load().revocations.revision;
        let revision = self.store.revision().await?;
        let is_older = revision < known;
        let needed = if is_older { known + 1 } else { revision };
        let state = self.state.load_full();
        if state.reaches(needed) {
            return Ok(state);
        }
        let _reading = self.reading.lock().await;
        // Whoever held the lock may have read what is needed.
        let state = self.state.load_full();
        if state.reaches(needed) {
            return Ok(state);
        }
        if is_older {
            within(READ_TIMEOUT, self.store.outrank(state.revocations.mark())).await?;
        }
        // Bounded, since all others wait behind it.
        let state = Arc::new(within(READ_TIMEOUT, self.read(&state.revocations)).await?);
        for error in &state.unusable {
            tracing::error!(%error, "a signing key can't be opened: tokens can't be issued once it is the signing key");
        }
        self.state.store(Arc::clone(&state));
        self.revisions.send_replace(state.revocations.revision);
        Ok(state)
    }

    /// What there is after what was known. With an older store its keys have gone: another one is made at once, since verifiers take
    /// keys out only when they are told of others.
    async fn read(&self, known: &Revocations) -> Result<AuthState, StoreError> {
        let state = AuthState::read(&self.store, &self.encryption_key, known).await?;
        if !state.published.is_empty() {
            return Ok(state);
        }
        match ensure_key(&self.store, &self.encryption_key, self.algorithm).await {
            Ok(()) => AuthState::read(&self.store, &self.encryption_key, &state.revocations).await,
            Err(KeyRotationError::Store(error)) => Err(error),
            Err(error) => {
                tracing::error!(%error, "there is no signing key, and none can be made: no token is issued");
                Ok(state)
            }
        }
    }

    /// Tells those who follow revisions that there is something new beside them.
    pub fn notify(&self) {
        self.revisions.send_modify(|_| ());
    }

    /// Changes with each new revision.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revisions.subscribe()
    }
}

impl AuthState {
    /// Whether this is the state at that revision or a later one. One without a key is none: another process has withdrawn all of them.
    fn reaches(&self, revision: u64) -> bool {
        self.revocations.revision >= revision && !self.published.is_empty()
    }

    /// The newest key whose time to sign has come.
    pub fn signing_key(&self, now: i64) -> Option<Arc<SigningKey>> {
        self.signing.iter().rfind(|(key, _)| key.signs_at(now)).map(|(_, key)| Arc::clone(key))
    }

    /// By which verifiers know whether a decision still holds: these policies, and no signing key withdrawn since. The passport that
    /// came with it may be of that key.
    pub fn decision_set(&self, policy_hash: &Arc<str>) -> Arc<str> {
        match self.revocations.retired_keys {
            0 => Arc::clone(policy_hash),
            retired => format!("{policy_hash}.{retired}").into(),
        }
    }

    /// Everything after the revision `since`, for a verifier that knows that much.
    pub fn update_since(&self, since: u64) -> RevocationUpdate {
        let revocations = &self.revocations;
        let unchanged = RevocationUpdate {
            store: revocations.store,
            revision: revocations.revision,
            global_epoch: revocations.global_epoch,
            relations_version: revocations.relations,
            ..RevocationUpdate::default()
        };
        let since = if since < revocations.complete_since || since > revocations.revision { 0 } else { since };
        if since == revocations.revision {
            // What most questions hear; nothing is looked through for it.
            return unchanged;
        }
        let mut update = RevocationUpdate { full: since == 0, keys: Some(self.snapshot.keys.clone()), ..unchanged };
        if update.full {
            update.subjects = revocations.subjects.iter().map(|(name, epoch)| (Arc::clone(name), *epoch)).collect();
            update.tokens = revocations.tokens.iter().map(|(jti, ends)| (Arc::clone(jti), *ends)).collect();
            return update;
        }
        for (_, revoked) in revocations.recent.iter().filter(|(revision, _)| *revision > since) {
            match revoked {
                Revoked::Subject(name, epoch) => update.subjects.push((Arc::clone(name), *epoch)),
                Revoked::Token(jti, ends) => update.tokens.push((Arc::clone(jti), *ends)),
            }
        }
        update
    }

    async fn read(store: &Store, encryption_key: &EncryptionKey, known: &Revocations) -> Result<Self, StoreError> {
        let now = verify::now();
        let revocations = store.revocations(known, now).await?;
        let keys = store.keys(now).await?;
        let published: Vec<_> = keys.iter().filter_map(public_half).collect();
        let snapshot = RevocationSnapshot {
            store: revocations.store,
            revision: revocations.revision,
            keys: published.iter().cloned().collect::<KeySet>(),
            subjects: revocations.subjects.clone(),
            tokens: revocations.tokens.clone(),
            global_epoch: revocations.global_epoch,
            ..RevocationSnapshot::default()
        };
        let (mut signing, mut unusable) = (Vec::new(), Vec::new());
        for key in keys.into_iter().filter(|key| key.signs_until == 0 || key.signs_until > now) {
            match private_half(encryption_key, &key) {
                Ok(half) => signing.push((key, Arc::new(half))),
                Err(error) => unusable.push(error),
            }
        }
        Ok(Self { revocations, published, snapshot, signing, unusable })
    }
}

fn public_half(key: &StoredKey) -> Option<PublicKey> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let bytes = URL_SAFE_NO_PAD.decode(&key.public).ok()?;
    Some(PublicKey::new(Algorithm::named(&key.algorithm)?, &bytes))
}

fn private_half(encryption_key: &EncryptionKey, key: &StoredKey) -> Result<SigningKey, KeyRotationError> {
    let pkcs8 = encryption_key.decrypt(&key.kid, &key.private)?;
    let algorithm = Algorithm::named(&key.algorithm).unwrap_or_default();
    Ok(SigningKey::from_pkcs8(algorithm, &pkcs8)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::revocations::MAX_RECENT;

    /// A state that was read at revision 10, and what was revoked at these revisions since, a subject each.
    fn state(revisions: impl IntoIterator<Item = u64>) -> AuthState {
        let mut revocations = Revocations { revision: 10, complete_since: 10, ..Revocations::default() };
        revocations.add(Revoked::Subject("before".into(), 1), 9);
        for (number, revision) in (0..).zip(revisions) {
            let number: u64 = number;
            revocations.revision = revocations.revision.max(revision);
            revocations.add(Revoked::Subject(format!("principal-{number}").into(), 1), revision);
        }
        revocations.bound_recent();
        let snapshot = RevocationSnapshot::default();
        AuthState { revocations, published: Vec::new(), snapshot, signing: Vec::new(), unusable: Vec::new() }
    }

    /// Whether that is everything, and of how many subjects.
    fn told(state: &AuthState, since: u64) -> (bool, usize) {
        let update = state.update_since(since);
        (update.full, update.subjects.len())
    }

    #[test]
    fn update_has_the_changes_after_the_revision_that_a_verifier_knows() {
        let few = state([11, 12, 12, 13]);
        assert_eq!([13, 12, 11, 10].map(|since| told(&few, since)), [(false, 0), (false, 1), (false, 3), (false, 4)]);
    }

    #[test]
    fn verifier_behind_the_changes_that_are_kept_gets_a_full_update() {
        let few = state([11]);
        assert_eq!([9, 0, u64::MAX].map(|since| told(&few, since)), [(true, 2); 3]);
        let most = MAX_RECENT as u64;
        let many = state(11..13 + most);
        assert_eq!([11, 12].map(|since| told(&many, since)), [(true, MAX_RECENT + 3), (false, MAX_RECENT)]);
    }

    #[test]
    fn change_that_was_read_before_an_older_one_is_left_out_with_it() {
        let most = MAX_RECENT as u64;
        let falling = state((11..13 + most).rev());
        assert_eq!([10, 11, 10 + most].map(|since| told(&falling, since)), [(true, MAX_RECENT + 3); 3]);
        let burst = state((0..=most).map(|_| 11));
        assert_eq!([10, 11].map(|since| told(&burst, since)), [(true, MAX_RECENT + 2), (false, 0)]);
    }

    #[test]
    fn epoch_of_a_subject_that_is_raised_twice_is_the_later_one() {
        let mut known = state([]);
        for (revision, epoch) in [(11, 1), (12, 2)] {
            known.revocations.add(Revoked::Subject("ada".into(), epoch), revision);
            known.revocations.revision = revision;
        }
        let verifier = RevocationSnapshot::default().updated(known.update_since(10), 0);
        assert_eq!(verifier.subjects.get("ada"), Some(&2));
    }
}
