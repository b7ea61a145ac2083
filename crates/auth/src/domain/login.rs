//! A credential in, tokens out.

use std::net::IpAddr;

use accord_token::verify;
use uuid::Uuid;

use super::{
    auth::Auth,
    client::ClientCredential,
    denial::Denial,
    issue::{self, Limits, SignedToken},
    password,
    scope::Scope,
};
use crate::store::{
    Transaction,
    families::Family,
    principals::{Principal, is_name},
};

/// How somebody proves who they are.
pub enum Credential {
    /// A person.
    Person(PersonProof),
    /// A program (RFC 6749, section 4.4).
    Client {
        /// Who it is.
        credential: ClientCredential,
        /// What it asks for; None: all that it may.
        scope: Option<Scope>,
    },
    /// A script, with an API key.
    ApiKey(String),
    /// Whoever calls by a gateway with a certificate: the identity in it.
    Certificate(String),
    /// Whom another issuer vouches for, with its token.
    Foreign(String),
}

/// How a person proves who they are.
pub struct PersonProof {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
    /// The code of the second factor; empty where there is none.
    pub totp_code: String,
}

/// A person who has proven who they are, as of a moment.
pub(super) struct Proven {
    /// The name.
    pub name: String,
    /// What the password was compared with.
    pub password_hash: String,
    /// The epoch at that moment: whatever ends logins has raised it since.
    pub epoch: u64,
}

/// What a login or a refresh brings.
pub struct IssuedTokens {
    /// The access token.
    pub access: SignedToken,
    /// The refresh token; only for persons.
    pub refresh: Option<String>,
}

impl Auth {
    /// Tokens for a credential that came from this address.
    pub async fn login(&self, credential: Credential, address: IpAddr) -> Result<IssuedTokens, Denial> {
        let tokens = match credential {
            Credential::Person(proof) => self.login_person(proof, address).await,
            Credential::Client { credential, scope } => self.login_client(&credential, scope).await,
            Credential::ApiKey(key) => self.login_api_key(&key, address).await,
            Credential::Certificate(identity) => self.login_certificate(&identity, address).await,
            Credential::Foreign(token) => self.login_foreign(&token).await,
        };
        self.metrics.login(tokens.as_ref().map_or_else(outcome, |_| "succeeded"));
        let tokens = tokens?;
        self.metrics.token("access");
        Ok(tokens)
    }

    async fn login_person(&self, proof: PersonProof, address: IpAddr) -> Result<IssuedTokens, Denial> {
        let proven = self.prove(proof, address).await?;
        self.begin_family(&proven.name, proven.epoch).await
    }

    /// Whether that is the person, by password and second factor.
    pub(super) async fn prove(&self, proof: PersonProof, address: IpAddr) -> Result<Proven, Denial> {
        let PersonProof { name, password, totp_code } = proof;
        // Nobody has such a name or password, so nothing needs to be counted or remembered for it.
        if !is_name(&name) || password.len() > *password::LENGTH.end() {
            return Err(Denial::Credential);
        }
        self.throttled(&name, address, async {
            let admission = self.passwords.admit(address)?;
            let (hashed, epoch) = self.store.password(&name).await?.unzip();
            let is_right = self.passwords.check(&admission, password, hashed.clone()).await?;
            let (true, Some(password_hash), Some(epoch)) = (is_right, hashed, epoch) else {
                return Err(Denial::Credential);
            };
            self.prove_second_factor(&name, &totp_code).await?;
            Ok(Proven { name: name.clone(), password_hash, epoch })
        })
        .await
    }

    /// A try at an account, which counts as failed until it succeeds.
    pub(super) async fn throttled<T>(
        &self,
        account: &str,
        address: IpAddr,
        tried: impl Future<Output = Result<T, Denial>>,
    ) -> Result<T, Denial> {
        // Counted before the hashing, so that guesses made at the same time count each.
        self.throttle.count_attempt(account, address).map_err(Denial::Throttled)?;
        let tried = tried.await;
        match &tried {
            Ok(_) => self.throttle.reset(account, address),
            Err(Denial::Credential) => {}
            Err(_) => self.throttle.cancel_attempt(account, address),
        }
        tried
    }

    async fn login_client(&self, credential: &ClientCredential, scope: Option<Scope>) -> Result<IssuedTokens, Denial> {
        let principal = self.client(credential).await?;
        let state = self.state.current().await?;
        let limits = Limits { scope, ..Limits::life(self.tokens.access_ttl) };
        let access = issue::access_token(&self.tokens, &state, &principal, limits)?;
        Ok(IssuedTokens { access, refresh: None })
    }

    /// Whoever may log in under this name.
    pub(super) async fn active(&self, subject: &str) -> Result<Principal, Denial> {
        let principal = self.store.principal(subject).await?;
        principal.filter(Principal::may_log_in).ok_or(Denial::Credential)
    }

    /// The first tokens of a person who was proven to be that at this epoch.
    pub(super) async fn begin_family(&self, name: &str, epoch: u64) -> Result<IssuedTokens, Denial> {
        let new = self.new_family(name, epoch).await?;
        let mut tx = self.store.begin().await?;
        new.write(&mut tx).await?;
        tx.commit().await?;
        Ok(self.first_tokens(new))
    }

    /// The same, which are good once they are written.
    pub(super) async fn new_family(&self, name: &str, epoch: u64) -> Result<NewFamily, Denial> {
        let principal = self.active(name).await?;
        // The password, the roles or the standing have changed since it was proven.
        if principal.epoch != epoch {
            return Err(Denial::Credential);
        }
        let state = self.state.current().await?;
        let limits = Limits::life(self.tokens.access_ttl);
        let access = issue::access_token(&self.tokens, &state, &principal, limits)?;
        let life = i64::try_from(self.tokens.refresh_ttl.as_secs()).unwrap_or(0);
        let family = Family {
            id: Uuid::new_v4().simple().to_string(),
            subject: principal.subject,
            epoch: principal.epoch,
            global_epoch: state.revocations.global_epoch,
            generation: 1,
            rotated_at: 0,
            expires_at: verify::now() + life,
            revoked: false,
            key_id: self.encryption_key.id().to_owned(),
        };
        Ok(NewFamily { family, access })
    }

    pub(super) fn first_tokens(&self, NewFamily { family, access }: NewFamily) -> IssuedTokens {
        let refresh = self.encryption_key.refresh_token(&family.id, family.generation);
        IssuedTokens { access, refresh: Some(refresh) }
    }
}

/// How a login ended that brought nothing, as metrics have it.
pub(crate) fn outcome(denial: &Denial) -> &'static str {
    match denial {
        // A wrong code of a device is a guess like a wrong password.
        Denial::Credential | Denial::SecondFactorMissing | Denial::Foreign(_) | Denial::Field("user_code", _) => {
            "refused"
        }
        Denial::Throttled(_) => "throttled",
        _ => "failed",
    }
}

/// What a login of a person begins.
pub(super) struct NewFamily {
    family: Family,
    access: SignedToken,
}

impl NewFamily {
    /// What its tokens are of.
    pub(super) fn global_epoch(&self) -> u64 {
        self.family.global_epoch
    }

    pub(super) async fn write(&self, tx: &mut Transaction) -> Result<(), Denial> {
        tx.add_family(&self.family).await?;
        tx.add_family_token(&self.family.id, &self.access.jti, self.access.expires_at).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_code_of_a_device_counts_as_a_refused_login() {
        assert_eq!(outcome(&Denial::Field("user_code", "is wrong")), "refused");
        assert_eq!(outcome(&Denial::Field("address", "is wrong")), "failed");
    }
}
