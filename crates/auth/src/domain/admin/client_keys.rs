//! Clients that prove who they are with a private key: their public keys, several at once where they rotate.

use std::time::Duration;

use accord_token::{
    foreign::{ForeignAlgorithm, Jwk, JwkError, JwkSet},
    verify,
};

use super::{Admin, AdminError, LONGEST_OVERLAP, validate};
use crate::store::{Transaction, client_keys::ClientKey, principals::Principal};

/// The most keys that one client has, those that end soon included.
pub const MAX_CLIENT_KEYS: usize = 8;

/// The keys of a client, from a JWK set.
pub fn read_client_keys(text: &[u8]) -> Result<JwkSet, AdminError> {
    let keys = JwkSet::read(text, MAX_CLIENT_KEYS).map_err(AdminError::ClientKeys)?;
    if keys.is_empty() {
        return Err(AdminError::NoClientKey);
    }
    keys.iter().try_for_each(check_algorithm)?;
    Ok(keys)
}

/// A key of a client, from a JWK.
pub fn read_client_key(text: &str) -> Result<Jwk, AdminError> {
    let keys = read_client_keys(format!("{{\"keys\":[{text}]}}").as_bytes())?;
    let mut all = keys.iter();
    match (all.next(), all.next()) {
        (Some(key), None) => Ok(key.clone()),
        _ => Err(AdminError::OneClientKey),
    }
}

/// A client chooses its keys, and so has no need of the algorithm that is verified for issuers who can't.
fn check_algorithm(key: &Jwk) -> Result<(), AdminError> {
    if key.algorithm == ForeignAlgorithm::Rs256 { Err(AdminError::ClientKeyAlgorithm) } else { Ok(()) }
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
        // A client of this id that was removed had keys of other versions.
        bump_keys_version(&mut tx, id).await?;
        self.audit_and_commit(tx, "client.add", id).await
    }

    /// Gives a client one more key.
    pub async fn add_client_key(&self, id: &str, key: &Jwk) -> Result<ClientKey, AdminError> {
        let (mut tx, known) = self.begin_client_keys(id).await?;
        let now = verify::now();
        let others = known.iter().filter(|other| other.jwk.kid != key.kid && other.is_valid(now)).count();
        check_names(&known, key)?;
        if others >= MAX_CLIENT_KEYS {
            return Err(AdminError::ClientKeys(JwkError::TooMany(MAX_CLIENT_KEYS)));
        }
        tx.add_client_key(id, key, now).await?;
        bump_keys_version(&mut tx, id).await?;
        self.audit_and_commit(tx, "client.key.add", &format!("{id} {}", key.kid)).await?;
        self.client_key(id, &key.kid).await
    }

    /// Gives a client these keys. Its other ones end once `overlap` has passed. Returns when that is, in seconds since 1970.
    pub async fn rotate_client_keys(&self, id: &str, keys: &JwkSet, overlap: Duration) -> Result<i64, AdminError> {
        let (mut tx, known) = self.begin_client_keys(id).await?;
        let now = verify::now();
        let until = now + i64::try_from(overlap.min(LONGEST_OVERLAP).as_secs()).unwrap_or(0);
        let is_given = |key: &Jwk| keys.iter().any(|given| given.kid == key.kid);
        keys.iter().try_for_each(|key| check_names(&known, key))?;
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
        bump_keys_version(&mut tx, id).await?;
        self.audit_and_commit(tx, "client.keys", id).await?;
        Ok(until)
    }

    /// Takes a key of a client away at once.
    pub async fn remove_client_key(&self, id: &str, kid: &str) -> Result<(), AdminError> {
        let (mut tx, _) = self.begin_client_keys(id).await?;
        if !tx.remove_client_key(id, kid).await? {
            return Err(unknown(id, kid));
        }
        bump_keys_version(&mut tx, id).await?;
        self.audit_and_commit(tx, "client.key.remove", &format!("{id} {kid}")).await
    }

    /// A key of a client.
    pub async fn client_key(&self, id: &str, kid: &str) -> Result<ClientKey, AdminError> {
        let keys = self.store.client_keys(id).await?;
        keys.into_iter().find(|key| key.jwk.kid == kid).ok_or_else(|| unknown(id, kid))
    }

    /// Begins a change of a client's keys, which are those of the version that the caller has seen.
    async fn begin_client_keys(&self, id: &str) -> Result<(Transaction, Vec<ClientKey>), AdminError> {
        let tx = self.begin().await?;
        self.expected_version(self.client(id).await?.keys_version, id)?;
        Ok((tx, self.store.client_keys(id).await?))
    }

    /// The keys of a client.
    pub async fn client_keys(&self, id: &str) -> Result<Vec<ClientKey>, AdminError> {
        Ok(self.store.client_keys(id).await?)
    }
}

/// Another version, which is of no other change.
pub(super) async fn bump_keys_version(tx: &mut Transaction, id: &str) -> Result<(), AdminError> {
    let version = tx.next_revision().await?;
    Ok(tx.set_client_keys_version(id, version).await?)
}

/// A name is one key's.
fn check_names(known: &[ClientKey], given: &Jwk) -> Result<(), AdminError> {
    let same = known.iter().find(|key| key.jwk.kid == given.kid);
    if same.is_some_and(|key| key.jwk.to_json() != given.to_json()) {
        return Err(AdminError::ClientKeyName(given.kid.clone()));
    }
    Ok(())
}

fn unknown(id: &str, kid: &str) -> AdminError {
    AdminError::UnknownClientKey { id: id.to_owned(), kid: kid.to_owned() }
}
