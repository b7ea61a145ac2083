//! Programs that prove who they are with a credential of their own: clients, as OAuth names them (RFC 6749, section 2.3).

use accord_token::{
    foreign::{ForeignClaims, ForeignExpected, ForeignType, Unverified},
    verify,
};
use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{auth::Auth, denial::Denial};
use crate::store::{client_keys::AssertionUse, principals::Principal};

/// Characters of a refused client's id that are logged: those of a name, and too few of a secret.
const LOGGED_ID: usize = 24;

const NO_CLIENT: &str = "there is no such client";

/// How a client proves who it is.
pub enum ClientCredential {
    /// With its secret.
    Secret {
        /// The client's id.
        id: String,
        /// The secret.
        secret: String,
    },
    /// With a JWT that its private key signed (RFC 7523; `OpenID` Connect Core, section 9).
    Assertion {
        /// The client's id, where it names itself beside the assertion.
        id: Option<String>,
        /// The JWT.
        assertion: String,
    },
}

impl Auth {
    /// The client that shows this credential.
    pub async fn client(&self, credential: &ClientCredential) -> Result<Principal, Denial> {
        match credential {
            ClientCredential::Secret { id, secret } => self.client_with_secret(id, secret).await,
            ClientCredential::Assertion { id, assertion } => self.client_with_assertion(id.as_deref(), assertion).await,
        }
    }

    /// Client secrets have 256 random bits: nobody guesses them, so nobody can lock a client out by failing for it.
    async fn client_with_secret(&self, id: &str, secret: &str) -> Result<Principal, Denial> {
        let given = hash_client_secret(secret);
        let found = self.store.client_with_principal(id).await?;
        let (client, principal) = found.ok_or_else(|| self.refuse_client(id, NO_CLIENT))?;
        let is = |hash: &str| verify_slices_are_equal(given.as_bytes(), hash.as_bytes()).is_ok();
        if !client.hashes(verify::now()).any(is) {
            return Err(self.refuse_client(id, "the secret is wrong"));
        }
        self.active_client(id, principal)
    }

    /// An assertion is good once: its name is remembered in the store, so that all replicas know, before anything is given for it.
    /// Nobody learns by the time that it takes whether there is such a client: the store is asked the same and a signature is checked.
    async fn client_with_assertion(&self, id: Option<&str>, assertion: &str) -> Result<Principal, Denial> {
        let malformed = |_| self.refuse_client(id.unwrap_or_default(), "the assertion is malformed");
        let token = Unverified::parse(assertion).map_err(malformed)?;
        let named = token.claimed().map_err(malformed)?.sub;
        let named = &named[..];
        if id.is_some_and(|id| id != named) {
            return Err(self.refuse_client(named, "the assertion is another client's"));
        }
        let refuse = |cause: &'static str| self.refuse_client(named, cause);
        let found = self.store.client_with_principal(named).await?;
        let now = verify::now();
        let keys = self.decoys.beside(self.store.valid_client_keys(named, now).await?, &token);
        let claims = token.verify(ForeignType::ClientAssertion, &keys);
        let (_, principal) = found.ok_or_else(|| refuse(NO_CLIENT))?;
        let claims = claims.map_err(|_| refuse("the assertion is not signed by a key of the client"))?;
        self.check_assertion(&claims, now).map_err(|()| refuse("the assertion's claims are not acceptable"))?;
        let principal = self.active_client(named, principal)?;
        self.use_assertion(named, &claims, now).await?;
        Ok(principal)
    }

    /// Its client issues it about itself, for us.
    fn check_assertion(&self, claims: &ForeignClaims, now: i64) -> Result<(), ()> {
        let endpoint = self.token_endpoint();
        let audiences = [&*self.tokens.issuer, &endpoint];
        let foreign_type = ForeignType::ClientAssertion;
        let expected = ForeignExpected { foreign_type, issuer: &claims.sub, audiences: &audiences };
        claims.check(&expected, now).map_err(drop)
    }

    async fn use_assertion(&self, id: &str, claims: &ForeignClaims, now: i64) -> Result<(), Denial> {
        let name = claims.jti.as_deref().unwrap_or_default();
        let digest = URL_SAFE_NO_PAD.encode(digest(&SHA256, name.as_bytes()));
        let mut tx = self.store.begin().await?;
        let used = tx.use_assertion(id, &digest, claims.exp, now).await?;
        tx.commit().await?;
        match used {
            AssertionUse::First => Ok(()),
            AssertionUse::Again => Err(self.refuse_client(id, "the assertion was used before")),
            AssertionUse::TooMany => Err(Denial::Throttled(ForeignType::ClientAssertion.longest_life())),
        }
    }

    fn active_client(&self, id: &str, principal: Option<Principal>) -> Result<Principal, Denial> {
        principal.filter(Principal::may_log_in).ok_or_else(|| self.refuse_client(id, "the client is disabled"))
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
