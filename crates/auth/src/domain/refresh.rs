//! Refresh token rotation. A refresh token is good once; using it again shows that somebody else has it (RFC 9700, section
//! 4.14), and revokes the family of all tokens that came from the same login.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use accord_token::verify;

use super::{
    auth::Auth,
    denial::Denial,
    issue::{self, Limits},
    login::IssuedTokens,
};
use crate::store::{families::Family, principals::Principal};

/// What a refresh does to its family.
#[derive(Clone, Copy)]
enum Rotation {
    /// The newest token was used: the next generation comes.
    Advance,
    /// The one before was used within the grace: the newest generation is given again.
    Repeat,
}

impl Auth {
    /// The next access and refresh token.
    pub async fn refresh(&self, token: &str) -> Result<IssuedTokens, Denial> {
        let tokens = self.rotate_refresh_token(token).await?;
        self.metrics.token("access");
        Ok(tokens)
    }

    async fn rotate_refresh_token(&self, token: &str) -> Result<IssuedTokens, Denial> {
        let (id, generation) = self.encryption_key.parse_refresh_token(token).ok_or(Denial::Credential)?;
        let (family, principal) = self.active_family(&id).await?;
        if generation > family.generation {
            return Err(Denial::Credential);
        }
        if generation == family.generation
            && let Some(tokens) = self.rotate_family(&family, &principal, Rotation::Advance).await?
        {
            return Ok(tokens);
        }
        // Superseded: by an earlier call, or by one that was faster just now. What counts is the store's newest word.
        let (family, principal) = self.active_family(&id).await?;
        if generation + 1 == family.generation && self.in_grace(&family) {
            return self.rotate_family(&family, &principal, Rotation::Repeat).await?.ok_or(Denial::Reused);
        }
        self.revoke_family(&family, "refresh.reused").await?;
        Err(Denial::Reused)
    }

    /// Revokes a family by one of its refresh tokens, whether or not it is the newest: its holder may. False where this is
    /// no refresh token of a family.
    pub(super) async fn revoke_refresh_token(&self, token: &str) -> Result<bool, Denial> {
        let Some((id, _)) = self.encryption_key.parse_refresh_token(token) else { return Ok(false) };
        let Some(family) = self.store.family(&id).await? else { return Ok(false) };
        // Once is enough: who repeats it must not make the record grow, nor verifiers read.
        if !family.revoked {
            self.revoke_family(&family, "refresh.revoke").await?;
        }
        Ok(true)
    }

    async fn active_family(&self, id: &str) -> Result<(Family, Principal), Denial> {
        let family = self.store.family(id).await?.ok_or(Denial::Credential)?;
        if family.revoked {
            return Err(Denial::Reused);
        }
        let principal = self.active(&family.subject).await?;
        let state = self.state.current().await?;
        let ended = family.epoch < principal.epoch || family.global_epoch < state.revocations.global_epoch;
        if ended || family.expires_at <= verify::now() {
            return Err(Denial::Credential);
        }
        Ok((family, principal))
    }

    /// The family's next tokens, or its newest ones again; None where somebody was faster or the family has ended. One
    /// transaction: where the process dies before it is durable, the refresh token in the caller's hand is still good.
    async fn rotate_family(
        &self,
        family: &Family,
        principal: &Principal,
        rotation: Rotation,
    ) -> Result<Option<IssuedTokens>, Denial> {
        let state = self.state.current().await?;
        let limits = Limits::life(self.tokens.access_ttl);
        let access = issue::access_token(&self.tokens, &state, principal, limits)?;
        let mut tx = self.store.begin().await?;
        let key_id = self.encryption_key.id();
        let refresh = match rotation {
            // The same text as before, under the key that made it.
            Rotation::Repeat => self.encryption_key.under(&family.key_id).refresh_token(&family.id, family.generation),
            Rotation::Advance if tx.advance_family(family, key_id, now_millis()).await? => {
                self.encryption_key.refresh_token(&family.id, family.generation + 1)
            }
            Rotation::Advance => return Ok(None),
        };
        // A token that is not written down could not be revoked with its family, so it is written before it is given.
        if !tx.add_family_token(&family.id, &access.jti, access.expires_at).await? {
            return Ok(None);
        }
        tx.commit().await?;
        Ok(Some(IssuedTokens { access, refresh: Some(refresh) }))
    }

    async fn revoke_family(&self, family: &Family, why: &str) -> Result<(), Denial> {
        let mut tx = self.store.begin().await?;
        let revision = tx.next_revision().await?;
        tx.revoke_family(&family.id, revision).await?;
        tx.audit(verify::now(), &family.subject, why, &family.id).await?;
        tx.commit().await?;
        // Read at once, so that verifiers learn of it at once.
        self.state.current().await?;
        Ok(())
    }

    fn in_grace(&self, family: &Family) -> bool {
        // Another auth's clock may be ahead by a little. One that was set back must not make the grace longer.
        let between = now_millis().abs_diff(family.rotated_at);
        Duration::from_millis(between) < self.tokens.refresh_reuse_interval
    }
}

pub(super) fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
