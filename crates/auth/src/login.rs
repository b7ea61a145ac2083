//! A credential in, tokens out.

use std::net::IpAddr;

use accord_api::accord::auth::v1::{ClientCredentialsGrant, IssueRequest, PasswordGrant, issue_request::Grant};
use accord_token::verify;
use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{
    auth::Auth,
    denial::Denial,
    mint::{self, Minted},
    store::{families::Family, principals::is_name},
};

/// The longest password, in bytes: hashing must not be fed by the megabyte.
pub const LONGEST_PASSWORD: usize = 1024;

/// What a login brings.
pub struct Tokens {
    /// The access token.
    pub access: Minted,
    /// The refresh token; only for persons.
    pub refresh: String,
}

impl Auth {
    /// Tokens for a credential that came from this address.
    pub async fn login(&self, request: IssueRequest, address: IpAddr) -> Result<Tokens, Denial> {
        let tokens = match request.grant {
            Some(Grant::Password(grant)) => self.person(grant, address).await,
            Some(Grant::ClientCredentials(grant)) => self.program(grant).await,
            None => Err(Denial::Field("grant", "must be given")),
        };
        self.figures.login(match &tokens {
            Ok(_) => "succeeded",
            Err(Denial::Credential) => "refused",
            Err(Denial::Throttled(_)) => "throttled",
            Err(_) => "failed",
        });
        tokens
    }

    async fn person(&self, grant: PasswordGrant, address: IpAddr) -> Result<Tokens, Denial> {
        // Nobody has such a name or password, so nothing needs to be counted or remembered for it.
        if !is_name(&grant.name) || grant.password.len() > LONGEST_PASSWORD {
            return Err(Denial::Credential);
        }
        // Counted before the hashing, so that guesses made at the same time count each.
        self.throttle.attempt(&grant.name, address).map_err(Denial::Throttled)?;
        match self.is_password(&grant.name, grant.password).await {
            Ok(true) => self.throttle.succeeded(&grant.name, address),
            Ok(false) => return Err(Denial::Credential),
            Err(denial) => {
                self.throttle.unmade(&grant.name, address);
                return Err(denial);
            }
        }
        self.begin_family(&grant.name).await
    }

    async fn is_password(&self, name: &str, password: String) -> Result<bool, Denial> {
        let hashed = self.store.password(name).await?;
        Ok(self.passwords.check(password, hashed).await?)
    }

    /// Client secrets have 256 random bits: nobody guesses them, so nobody can lock a client out by failing for it.
    async fn program(&self, grant: ClientCredentialsGrant) -> Result<Tokens, Denial> {
        let known = self.store.client(&grant.client_id).await?;
        let (subject, expected) = known.unwrap_or_default();
        let given = secret_hash(&grant.client_secret);
        if verify_slices_are_equal(given.as_bytes(), expected.as_bytes()).is_err() {
            return Err(Denial::Credential);
        }
        let principal = self.store.principal(&subject).await?.ok_or(Denial::Credential)?;
        let state = self.ledger.current().await?;
        let access = mint::access(&self.tokens, &state, &principal, self.tokens.access_life)?;
        Ok(Tokens { access, refresh: String::new() })
    }

    async fn begin_family(&self, subject: &str) -> Result<Tokens, Denial> {
        let principal = self.store.principal(subject).await?.ok_or(Denial::Credential)?;
        let state = self.ledger.current().await?;
        let access = mint::access(&self.tokens, &state, &principal, self.tokens.access_life)?;
        let life = i64::try_from(self.tokens.refresh_life.as_secs()).unwrap_or(0);
        let family = Family {
            id: Uuid::new_v4().simple().to_string(),
            subject: principal.subject,
            epoch: principal.epoch,
            global_epoch: state.revocations.global_epoch,
            generation: 1,
            rotated_at: 0,
            expires_at: verify::now() + life,
            dead: false,
        };
        let mut change = self.store.change().await?;
        change.add_family(&family).await?;
        change.add_family_token(&family.id, &access.jti, access.expires_at).await?;
        change.commit().await?;
        Ok(Tokens { access, refresh: self.vault.refresh_token(&family.id, family.generation) })
    }
}

/// How a client's secret is kept.
pub fn secret_hash(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, secret.as_bytes()))
}
