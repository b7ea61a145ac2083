//! Clients that prove who they are with a private key: their public keys, several at once where they rotate.

use std::time::Duration;

use accord_token::{
    foreign::{ForeignAlgorithm, Jwk, JwkError, JwkSet},
    verify,
};

use super::{Admin, AdminError, LONGEST_OVERLAP, validate};
use crate::store::{client_keys::ClientKey, principals::Principal};

/// The most keys that one client has, those that end soon included.
pub const MAX_CLIENT_KEYS: usize = 8;

/// The keys of a client, from a JWK set.
pub fn read_client_keys(text: &[u8]) -> Result<JwkSet, AdminError> {
    let keys = JwkSet::read(text, MAX_CLIENT_KEYS).map_err(AdminError::ClientKeys)?;
    if keys.is_empty() {
        return Err(AdminError::NoClientKey);
    }
    // A client chooses its keys, and so has no need of the algorithm that is verified for issuers who can't.
    if keys.iter().any(|key| key.algorithm == ForeignAlgorithm::Rs256) {
        return Err(AdminError::ClientKeyAlgorithm);
    }
    Ok(keys)
}

impl Admin<'_> {
    /// Adds a program that logs in with assertions that its keys sign.
    pub async fn add_client_with_keys(&self, principal: &Principal, keys: &JwkSet) -> Result<(), AdminError> {
        let id = &principal.subject;
        validate(principal)?;
        let mut tx = self.begin_client(principal).await?;
        // No secret has the empty hash.
        tx.add_client(id, id, "").await?;
        for key in keys.iter() {
            tx.add_client_key(id, key, verify::now()).await?;
        }
        self.audit_and_commit(tx, "client.add", id).await
    }

    /// Gives a client these keys. Its other ones end once `overlap` has passed. Returns when that is, in seconds since 1970.
    pub async fn rotate_client_keys(&self, id: &str, keys: &JwkSet, overlap: Duration) -> Result<i64, AdminError> {
        let mut tx = self.begin().await?;
        self.client(id).await?;
        let now = verify::now();
        let until = now + i64::try_from(overlap.min(LONGEST_OVERLAP).as_secs()).unwrap_or(0);
        let known = self.store.client_keys(id).await?;
        let is_given = |key: &Jwk| keys.iter().any(|given| given.kid == key.kid);
        for key in &known {
            let same = keys.iter().find(|given| given.kid == key.jwk.kid);
            if same.is_some_and(|given| given.to_json() != key.jwk.to_json()) {
                return Err(AdminError::ClientKeyName(key.jwk.kid.clone()));
            }
        }
        let (mut ending, mut count) = (Vec::new(), keys.iter().count());
        for key in known.iter().filter(|key| !is_given(&key.jwk)) {
            if until <= now || !key.is_valid(now) {
                tx.remove_client_key(id, &key.jwk.kid).await?;
            } else {
                count += 1;
                ending.push(key);
            }
        }
        if count > MAX_CLIENT_KEYS {
            return Err(AdminError::ClientKeys(JwkError::TooMany(MAX_CLIENT_KEYS)));
        }
        for key in ending {
            let ends = if key.expires_at == 0 { until } else { key.expires_at.min(until) };
            tx.end_client_key(id, &key.jwk.kid, ends).await?;
        }
        for key in keys.iter() {
            tx.add_client_key(id, key, now).await?;
        }
        self.audit_and_commit(tx, "client.keys", id).await?;
        Ok(until)
    }

    /// Takes a key of a client away at once.
    pub async fn remove_client_key(&self, id: &str, kid: &str) -> Result<(), AdminError> {
        let mut tx = self.begin().await?;
        self.client(id).await?;
        if !tx.remove_client_key(id, kid).await? {
            return Err(AdminError::UnknownClientKey { id: id.to_owned(), kid: kid.to_owned() });
        }
        self.audit_and_commit(tx, "client.key.remove", &format!("{id} {kid}")).await
    }

    /// The keys of a client.
    pub async fn client_keys(&self, id: &str) -> Result<Vec<ClientKey>, AdminError> {
        Ok(self.store.client_keys(id).await?)
    }
}
