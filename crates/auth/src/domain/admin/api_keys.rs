//! API keys: made, replaced, paused and taken away.

use std::time::Duration;

use accord_token::{Type, verify};

use super::{
    Admin, AdminError, LONGEST_OVERLAP, MAX_ROLES, SecretError,
    credentials::{checked_note, revoke_source, seconds},
    existing,
};
use crate::{
    domain::{api_key::NewApiKey, encryption_key::EncryptionKey, scope::Scope},
    store::{Transaction, api_keys::ApiKey},
};

/// What is said of a key that is made.
pub struct ApiKeyOrder {
    /// As whom it acts.
    pub subject: String,
    /// What it is for.
    pub note: String,
    /// What it is narrowed to; None: everything that its subject may.
    pub scope: Option<Scope>,
    /// How long it lives; None: until it is removed.
    pub life: Option<Duration>,
}

impl Admin<'_> {
    /// Makes a key, and gives its text to `keep` before it is good for anything. Returns its public part.
    pub async fn add_api_key(
        &self,
        order: ApiKeyOrder,
        encryption_key: &EncryptionKey,
        keep: impl FnOnce(&str) -> Result<(), SecretError>,
    ) -> Result<ApiKey, AdminError> {
        let mut tx = self.begin().await?;
        let principal = existing(self.store, &order.subject).await?;
        let bytes = principal.roles.iter().map(String::len).sum::<usize>();
        // Both go into each token.
        if bytes + order.scope.as_ref().map_or(0, |scope| scope.as_str().len()) > MAX_ROLES {
            return Err(AdminError::RolesTooLong { subject: order.subject, bytes });
        }
        let now = verify::now();
        let note = checked_note(order.note)?;
        let new = self.new_api_key(encryption_key)?;
        let key = ApiKey {
            id: new.id,
            subject: order.subject,
            mac: new.mac,
            key_id: encryption_key.id().to_owned(),
            note,
            scope: order.scope.map(Scope::into_text).unwrap_or_default(),
            created_at: now,
            expires_at: order.life.map_or(0, |life| now.saturating_add(seconds(life))),
            disabled: false,
            edition: 1,
            version: 1,
            used_at: 0,
        };
        keep(&new.text)?;
        tx.add_api_key(&key).await?;
        self.audit_and_commit(tx, "api_key.add", &target(&key)).await?;
        Ok(key)
    }

    /// Makes a successor for a key, which ends once `overlap` has passed. Returns both, the successor first.
    pub async fn rotate_api_key(
        &self,
        id: &str,
        overlap: Duration,
        encryption_key: &EncryptionKey,
        keep: impl FnOnce(&str) -> Result<(), SecretError>,
    ) -> Result<(ApiKey, ApiKey), AdminError> {
        let mut tx = self.begin().await?;
        let mut earlier = self.expected_key(self.api_key(id).await?)?;
        let now = verify::now();
        let new = self.new_api_key(encryption_key)?;
        // As long as the earlier one had at its beginning.
        let expires_at = if earlier.expires_at == 0 { 0 } else { now + earlier.expires_at - earlier.created_at };
        let key_id = encryption_key.id().to_owned();
        let key = ApiKey { id: new.id, mac: new.mac, key_id, created_at: now, expires_at, ..earlier.clone() };
        let key = ApiKey { disabled: false, edition: 1, version: 1, used_at: 0, ..key };
        let until = now + seconds(overlap.min(LONGEST_OVERLAP));
        let until = if earlier.expires_at == 0 { until } else { until.min(earlier.expires_at) };
        keep(&new.text)?;
        tx.add_api_key(&key).await?;
        // Tokens that could outlive it end now; the next ones end with it. With an overlap of a day there is none, and no call
        // with the earlier key fails.
        if until < now + seconds(Type::Access.longest_life()) {
            revoke(&mut tx, &mut earlier, now).await?;
        }
        earlier.expires_at = until;
        tx.change_api_key(&earlier).await?;
        self.audit_and_commit(tx, "api_key.rotate", &target(&earlier)).await?;
        Ok((key, earlier))
    }

    fn new_api_key(&self, encryption_key: &EncryptionKey) -> Result<NewApiKey, SecretError> {
        match self.once {
            Some(once) => Ok(NewApiKey::of(encryption_key, once.nonce())),
            None => Ok(NewApiKey::generate(encryption_key)?),
        }
    }

    fn expected_key(&self, key: ApiKey) -> Result<ApiKey, AdminError> {
        self.expected_version(key.version, &key.id)?;
        Ok(key)
    }

    /// The key of this id.
    pub async fn api_key(&self, id: &str) -> Result<ApiKey, AdminError> {
        self.store.api_key(id).await?.ok_or_else(|| AdminError::UnknownApiKey(id.to_owned()))
    }

    /// Refuses a key until it is enabled again, and revokes what came from it.
    pub async fn disable_api_key(&self, id: &str) -> Result<(), AdminError> {
        let mut tx = self.begin().await?;
        let mut key = self.expected_key(self.api_key(id).await?)?;
        revoke(&mut tx, &mut key, verify::now()).await?;
        key.disabled = true;
        tx.change_api_key(&key).await?;
        self.audit_and_commit(tx, "api_key.disable", &target(&key)).await
    }

    /// Accepts a disabled key again. What came from it before stays revoked.
    pub async fn enable_api_key(&self, id: &str) -> Result<(), AdminError> {
        let mut tx = self.begin().await?;
        let key = ApiKey { disabled: false, ..self.expected_key(self.api_key(id).await?)? };
        tx.change_api_key(&key).await?;
        self.audit_and_commit(tx, "api_key.enable", &target(&key)).await
    }

    /// Takes a key away, and revokes what came from it.
    pub async fn remove_api_key(&self, id: &str) -> Result<(), AdminError> {
        let mut tx = self.begin().await?;
        let mut key = self.expected_key(self.api_key(id).await?)?;
        revoke(&mut tx, &mut key, verify::now()).await?;
        tx.remove_api_key(id).await?;
        self.audit_and_commit(tx, "api_key.remove", &target(&key)).await
    }
}

/// Revokes the tokens that came from a key; those that it brings from now on have another name.
async fn revoke(tx: &mut Transaction, key: &mut ApiKey, now: i64) -> Result<(), AdminError> {
    revoke_source(tx, &key.source(), now).await?;
    key.edition += 1;
    Ok(())
}

fn target(key: &ApiKey) -> String {
    format!("{} {}", key.subject, key.id)
}
