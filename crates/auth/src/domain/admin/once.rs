//! Changes that happen once: a caller that heard no answer sends its request again, with the same idempotency key.

use super::{Admin, AdminError};
use crate::{
    domain::encryption_key::{EncryptionKey, generate_secret},
    store::{Transaction, requests::AdminRequest},
};

/// The longest key.
const MAX_KEY: usize = 128;

/// A request's key, and what was asked with it.
#[derive(Clone, Debug)]
pub struct Once {
    pub(super) key: String,
    pub(super) request: AdminRequest,
    /// What the same request's digest is under the encryption key that is accepted beside the one that is used, and that one's name.
    accepted: Option<(String, String)>,
}

impl Once {
    /// Of this request to this method; None where it has no key. What was asked is kept as a digest under the encryption key, since
    /// there may be a password in it.
    pub fn new(
        key: &str,
        method: &str,
        request: &[u8],
        encryption_key: &EncryptionKey,
    ) -> Result<Option<Self>, AdminError> {
        if key.is_empty() {
            return Ok(None);
        }
        if key.len() > MAX_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AdminError::Key);
        }
        let asked = [method.as_bytes(), b"\0", request].concat();
        let digest = encryption_key.request_digest(&asked);
        let nonce = generate_secret().map_err(super::SecretError::Random)?;
        let key_id = encryption_key.id().to_owned();
        let request = AdminRequest { digest, nonce, answer: String::new(), key_id };
        let accepted =
            encryption_key.accepted_request_digest(&asked).zip(encryption_key.accepted_id().map(str::to_owned));
        Ok(Some(Self { key: key.to_owned(), request, accepted }))
    }

    /// What was answered before, where that was remembered.
    pub(crate) fn answer(&self) -> &str {
        &self.request.answer
    }

    /// What a secret that this change brings is derived from: never the same again once the key is forgotten.
    pub(crate) fn nonce(&self) -> &str {
        &self.request.nonce
    }

    /// The encryption key under which it is derived.
    pub(crate) fn key_id(&self) -> &str {
        &self.request.key_id
    }

    /// The request that was made before, where it was this one. Rows of earlier versions have no `key_id`: theirs is the key that gives
    /// their digest.
    fn made(&self, mut before: AdminRequest) -> Option<Self> {
        let accepted = self.accepted.as_ref().filter(|(digest, _)| *digest == before.digest);
        if accepted.is_none() && before.digest != self.request.digest {
            return None;
        }
        if let Some((_, key_id)) = accepted.filter(|_| before.key_id.is_empty()) {
            before.key_id.clone_from(key_id);
        }
        Some(Self { request: before, ..self.clone() })
    }
}

impl Admin<'_> {
    /// The change as it was made before, where it was; an error where its key was used for another one.
    pub async fn done(&self) -> Result<Option<Once>, AdminError> {
        let Some(once) = self.once else { return Ok(None) };
        match self.store.admin_request(self.actor, &once.key).await? {
            None => Ok(None),
            Some(before) => once.made(before).map(Some).ok_or(AdminError::KeyReused),
        }
    }

    /// Remembers what this change was answered, for those who ask again.
    pub(crate) async fn remember_answer(&self, tx: &mut Transaction, answer: &str) -> Result<(), AdminError> {
        let Some(once) = self.once else { return Ok(()) };
        Ok(tx.answer_admin_request(self.actor, &once.key, answer).await?)
    }

    /// Whether it was.
    pub async fn was_done(&self) -> Result<bool, AdminError> {
        Ok(self.done().await?.is_some())
    }
}
