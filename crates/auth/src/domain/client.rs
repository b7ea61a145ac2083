//! Programs that prove who they are with a credential of their own: clients, as OAuth names them (RFC 6749, section 2.3).

use accord_token::verify;
use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{auth::Auth, denial::Denial};
use crate::store::principals::Principal;

/// Characters of a refused client's id that are logged: those of a name, and too few of a secret.
const LOGGED_ID: usize = 24;

/// How a client proves who it is.
pub enum ClientCredential {
    /// With its secret.
    Secret {
        /// The client's id.
        id: String,
        /// The secret.
        secret: String,
    },
}

impl Auth {
    /// The client that shows this credential.
    pub async fn client(&self, credential: &ClientCredential) -> Result<Principal, Denial> {
        let ClientCredential::Secret { id, secret } = credential;
        self.client_with_secret(id, secret).await
    }

    /// Client secrets have 256 random bits: nobody guesses them, so nobody can lock a client out by failing for it.
    async fn client_with_secret(&self, id: &str, secret: &str) -> Result<Principal, Denial> {
        let client = self.store.client(id).await?.ok_or_else(|| self.refuse_client(id, "there is no such client"))?;
        let given = hash_client_secret(secret);
        let is = |hash: &str| verify_slices_are_equal(given.as_bytes(), hash.as_bytes()).is_ok();
        if !client.hashes(verify::now()).any(is) {
            return Err(self.refuse_client(id, "the secret is wrong"));
        }
        self.active(&client.subject).await.map_err(|denial| match denial {
            Denial::Credential => self.refuse_client(id, "the client is disabled"),
            other => other,
        })
    }

    /// Tells the operator alone which it was. The id is what a caller sent: it may have any characters and any length, and
    /// may be a secret in the wrong place.
    fn refuse_client(&self, id: &str, cause: &'static str) -> Denial {
        let client_id: String = id.chars().take(LOGGED_ID).collect();
        self.refused_logins.write(|| tracing::warn!(?client_id, cause, "login refused"));
        Denial::Credential
    }
}

/// How a client's secret is kept.
pub(super) fn hash_client_secret(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, secret.as_bytes()))
}
