//! Changes that happen once: a caller that heard no answer sends its request again, with the same idempotency key.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Admin, AdminError};

/// The longest key.
const MAX_KEY: usize = 128;

/// A request's key, and what was asked with it.
#[derive(Clone, Debug)]
pub struct Once {
    pub(super) key: String,
    pub(super) digest: String,
}

impl Once {
    /// Of this request to this method; None where it has no key.
    pub fn new(key: &str, method: &str, request: &[u8]) -> Result<Option<Self>, AdminError> {
        if key.is_empty() {
            return Ok(None);
        }
        if key.len() > MAX_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AdminError::Key);
        }
        let asked = [method.as_bytes(), b"\0", request].concat();
        let digest = URL_SAFE_NO_PAD.encode(digest(&SHA256, &asked));
        Ok(Some(Self { key: key.to_owned(), digest }))
    }

    /// What a secret that belongs to this request of this caller is derived from.
    pub(crate) fn name(&self, actor: &str) -> String {
        format!("{}/{actor}/{}/{}", actor.len(), self.key, self.digest)
    }
}

impl Admin<'_> {
    /// Whether the change was made before; an error where its key was used for another one.
    pub async fn was_done(&self) -> Result<bool, AdminError> {
        let Some(once) = self.once else { return Ok(false) };
        match self.store.admin_request(self.actor, &once.key).await? {
            None => Ok(false),
            Some(digest) if digest == once.digest => Ok(true),
            Some(_) => Err(AdminError::KeyReused),
        }
    }
}
