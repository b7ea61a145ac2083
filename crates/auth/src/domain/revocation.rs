//! Revocation of tokens, and the stream of revocations to verifiers.

use std::{sync::Arc, time::Duration};

use accord_token::{
    RevocationUpdate, Type, Verified,
    claims::{LEEWAY, forgotten_before},
    verify,
};
use tokio::sync::watch;

use super::{auth::Auth, denial::Denial};
use crate::store::{Store, StoreError, high_water::Mark};

/// What is to be revoked.
pub enum RevocationOrder {
    /// One access or refresh token, by whoever holds it.
    Token(String),
    /// Every token of a subject.
    Subject {
        /// Whose.
        subject: String,
        /// Who says so.
        actor: String,
    },
}

impl Auth {
    /// Revokes, and returns the revision of the revocations that contains it.
    pub async fn revoke(&self, order: RevocationOrder) -> Result<u64, Denial> {
        match order {
            RevocationOrder::Token(token) => self.revoke_token(&token).await?,
            RevocationOrder::Subject { subject, actor } => {
                if !revoke_subject(&self.store, &subject, &actor).await? {
                    return Err(Denial::Field("subject", "is not known"));
                }
            }
        }
        // Read at once, so that verifiers learn of it at once.
        Ok(self.state.current().await?.revocations.revision)
    }

    /// What is no token of ours needs no ending, and nothing is said about why (RFC 7009, section 2.2). Everything else that we signed
    /// is recorded, also where it seems expired, or from the future: this clock may be wrong, and a verifier with a right one accepts it.
    async fn revoke_token(&self, token: &str) -> Result<(), Denial> {
        let state = self.state.current().await?;
        if self.revoke_refresh_token(token).await? {
            return Ok(());
        }
        let Ok(Verified { claims, .. }) = verify::signed(token, Type::Access, &state.snapshot.keys) else {
            // A good passport is told apart, since whoever sends it would believe that it has ended (section 2.2.1).
            return match verify::signed(token, Type::Passport, &state.snapshot.keys) {
                Ok(_) => Err(Denial::Field("token", "is a passport; revoke the access token it was made from")),
                Err(_) => Ok(()),
            };
        };
        // Once is enough, what has ended on every clock would be forgotten at once, and what no verifier accepts, which a stolen key
        // may have signed, would never be.
        let now = verify::now();
        let is_past = claims.exp < forgotten_before(now);
        if state.snapshot.revokes(&claims) || is_past || !verify::may_live(&claims, Type::Access, now) {
            return Ok(());
        }
        let mut tx = self.store.begin().await?;
        let revision = tx.next_revision().await?;
        tx.revoke_token(&claims.jti, claims.exp, revision).await?;
        tx.audit(verify::now(), &claims.sub, "token.revoke", &claims.jti).await?;
        Ok(tx.commit().await?)
    }
}

/// Revokes every token of a subject; false where there is no such subject.
pub(crate) async fn revoke_subject(store: &Store, subject: &str, actor: &str) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    let revision = tx.next_revision().await?;
    if !tx.raise_epoch(subject, verify::now(), revision).await? {
        return Ok(false);
    }
    tx.audit(verify::now(), actor, "subject.revoke", subject).await?;
    tx.commit().await?;
    Ok(true)
}

/// One verifier that follows revocations.
pub(crate) struct Watcher {
    auth: Arc<Auth>,
    /// The verifier's own token: it is verified again for each update, since it can be revoked too. That it may
    /// watch was decided when it began; its roles are the token's, and end with that.
    caller: Arc<Verified>,
    /// The revision that the verifier has.
    known: u64,
}

impl Watcher {
    /// A verifier that may watch, and knows nothing yet.
    pub(crate) fn start(auth: Arc<Auth>, caller: Arc<Verified>) -> Self {
        auth.metrics.watcher(1);
        Self { auth, caller, known: 0 }
    }

    /// Everything that this verifier has not seen, as of now. Where it has seen more than the store knows, the store is an older
    /// copy, and everything is revoked first; the verifier's own token as well, so that it logs in again.
    pub(crate) async fn update(&mut self, seen: Option<Mark>) -> Result<RevocationUpdate, Denial> {
        let mut state = self.auth.state.current().await?;
        self.auth.reverify(&self.caller, &state)?;
        if let Some(seen) = seen.filter(|seen| seen.is_after(&state.revocations.mark())) {
            self.auth.store.outrank(seen).await?;
            state = self.auth.state.current().await?;
        }
        let policies = self.auth.policies.get();
        let (policy_hash, policy_reads) = (state.decision_set(&policies.hash), policies.reads);
        let update = RevocationUpdate { policy_hash, policy_reads, ..state.update_since(self.known) };
        self.known = update.revision;
        Ok(update)
    }

    /// How much longer the verifier's own token is accepted: for one that asks nothing, and hears of nothing, as well.
    pub(crate) fn token_life(&self) -> Duration {
        let left = self.caller.claims.exp - verify::now();
        // One second more, since times in tokens are whole ones.
        Duration::from_secs(u64::try_from(left).unwrap_or(0)) + LEEWAY + Duration::from_secs(1)
    }

    /// Notifies of each new revision, and of each new policy set.
    pub(crate) fn revisions(&self) -> watch::Receiver<u64> {
        self.auth.state.revisions()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.auth.metrics.watcher(-1);
    }
}
