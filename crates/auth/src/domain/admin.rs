//! What administrators change. Every change is recorded in the audit log under the name of whoever makes it.

use std::time::Duration;

use accord_token::{Type, verify};

use super::{
    auth::Auth,
    client::hash_client_secret,
    issue::{self, Limits},
    password, revocation,
};
use crate::store::{
    Store, Transaction,
    principals::{Principal, is_name},
};

mod api_keys;
mod certificate_identities;
mod client_keys;
mod credentials;
mod devices;
mod error;
mod lifecycle;
mod links;
mod once;
mod recovery;
mod roles;
mod sessions;
mod signing_keys;

pub use crate::store::principals::KnownSecret;
pub use api_keys::ApiKeyOrder;
pub use certificate_identities::CertificateIdentityOrder;
pub use client_keys::{MAX_CLIENT_KEYS, read_client_key, read_client_keys};
pub use error::AdminError;
pub use lifecycle::{LONGEST_OVERLAP, SecretError};
pub use once::Once;
pub use roles::{KnownRole, RolePlace};
pub use sessions::SessionPlace;

/// The shortest client secret that is accepted.
const MIN_CLIENT_SECRET: usize = 32;

/// The most that all roles of one principal may come to, in bytes: half a token, so that passports have room as well.
const MAX_ROLES: usize = 2048;

/// An administrator at work.
pub struct Admin<'a> {
    store: &'a Store,
    /// Who the audit log names.
    actor: &'a str,
    /// The key by which a change happens once.
    once: Option<&'a Once>,
    /// The version of the principal that is changed, where the caller has seen one.
    version: Option<u64>,
}

impl<'a> Admin<'a> {
    /// Somebody who may change this store.
    pub fn new(store: &'a Store, actor: &'a str) -> Self {
        Self { store, actor, once: None, version: None }
    }

    /// The same for one change that happens once.
    #[must_use]
    pub fn once(self, once: Option<&'a Once>) -> Self {
        Self { once, ..self }
    }

    /// The same where the principal that is changed has to be of this version.
    #[must_use]
    pub fn expecting(self, version: Option<u64>) -> Self {
        Self { version, ..self }
    }

    pub(super) fn store(&self) -> &Store {
        self.store
    }

    pub(super) fn actor(&self) -> &str {
        self.actor
    }

    /// Begins a change, before anything else is looked at for it: a repetition that came in between is told of as one.
    pub(super) async fn begin(&self) -> Result<Transaction, AdminError> {
        let mut tx = self.store.begin().await?;
        if let Some(once) = self.once
            && !tx.add_admin_request(self.actor, &once.key, &once.request, verify::now()).await?
        {
            return Err(AdminError::InFlight);
        }
        Ok(tx)
    }

    fn expected(&self, principal: Principal) -> Result<Principal, AdminError> {
        self.expected_version(principal.version(), &principal.subject)?;
        Ok(principal)
    }

    /// Whether what is changed is of the version that the caller has seen.
    fn expected_version(&self, is: u64, subject: &str) -> Result<(), AdminError> {
        match self.version {
            Some(version) if version != is => Err(AdminError::Version { version, is, subject: subject.to_owned() }),
            _ => Ok(()),
        }
    }

    /// Adds a person or a program.
    pub async fn add_principal(&self, principal: &Principal, password: Option<&str>) -> Result<(), AdminError> {
        let hashed = password.map_or(Ok(String::new()), hash_password)?;
        self.add_hashed(principal, &hashed).await
    }

    /// The same with a password that is hashed; empty where there is none.
    pub async fn add_hashed(&self, principal: &Principal, hashed: &str) -> Result<(), AdminError> {
        validate(principal)?;
        let mut tx = self.begin().await?;
        if !tx.add_principal(principal, hashed).await? {
            return Err(AdminError::Exists(principal.subject.clone()));
        }
        self.audit_and_commit(tx, "principal.add", &principal.subject).await
    }

    /// Adds a program that logs in with the secret that `secret` brings. It is asked once nothing else stands in the way,
    /// and before the client is there: a secret that nobody has would be worse than one that means nothing.
    pub async fn add_client(
        &self,
        principal: &Principal,
        secret: impl FnOnce() -> Result<String, SecretError>,
    ) -> Result<(), AdminError> {
        let id = &principal.subject;
        validate(principal)?;
        let mut tx = self.begin_client(principal).await?;
        let secret = checked_secret(secret()?)?;
        tx.add_client(id, id, &hash_client_secret(&secret)).await?;
        self.audit_and_commit(tx, "client.add", id).await
    }

    /// Adds the principal of a client.
    async fn begin_client(&self, principal: &Principal) -> Result<Transaction, AdminError> {
        let id = &principal.subject;
        // Begun before anything is read, so that of two replicas that add it at once the second one finds it.
        let mut tx = self.begin().await?;
        if self.store.client(id).await?.is_some() {
            return Err(AdminError::Exists(id.clone()));
        }
        if tx.add_principal(principal, "").await? { Ok(tx) } else { Err(AdminError::NoClient(id.clone())) }
    }

    /// Gives a role. Tokens that do not show it yet are revoked.
    pub async fn grant_role(&self, subject: &str, role: &str) -> Result<(), AdminError> {
        self.change_roles(subject, &[role.to_owned()], &[]).await.map(drop)
    }

    /// Takes a role away. Tokens that still show it are revoked.
    pub async fn remove_role(&self, subject: &str, role: &str) -> Result<(), AdminError> {
        if self.change_roles(subject, &[], &[role.to_owned()]).await? {
            return Ok(());
        }
        Err(AdminError::RoleMissing { subject: subject.to_owned(), role: role.to_owned() })
    }

    /// Gives roles and takes others away. Tokens that show others are revoked. False where that changes nothing.
    pub async fn change_roles(&self, subject: &str, grant: &[String], remove: &[String]) -> Result<bool, AdminError> {
        let mut tx = self.begin().await?;
        let mut principal = self.expected(existing(self.store, subject).await?)?;
        principal.roles.retain(|role| !remove.contains(role));
        principal.roles.extend_from_slice(grant);
        validate(&principal)?;
        let mut changed = false;
        for role in remove {
            if tx.remove_role(subject, role).await? {
                tx.audit(verify::now(), self.actor, "role.remove", &format!("{subject} {role}")).await?;
                changed = true;
            }
        }
        for role in grant {
            if tx.add_role(subject, role).await? {
                tx.audit(verify::now(), self.actor, "role.grant", &format!("{subject} {role}")).await?;
                changed = true;
            }
        }
        if changed {
            let revision = tx.next_revision().await?;
            tx.raise_epoch(subject, verify::now(), revision).await?;
        }
        self.commit(tx).await?;
        Ok(changed)
    }

    /// Revokes every token of a subject.
    pub async fn revoke_subject(&self, subject: &str) -> Result<(), AdminError> {
        let revoked = revocation::revoke_subject(self.store, subject, self.actor).await?;
        if revoked { Ok(()) } else { Err(AdminError::Unknown(subject.to_owned())) }
    }

    /// Revokes every token there is. Whoever has a signing key makes others: that is withdrawn by `retire_key`.
    pub async fn revoke_everything(&self) -> Result<(), AdminError> {
        let mut tx = self.begin().await?;
        tx.next_revision().await?;
        tx.raise_global_epoch().await?;
        self.audit_and_commit(tx, "everything.revoke", "").await
    }

    async fn audit_and_commit(&self, mut tx: Transaction, action: &str, target: &str) -> Result<(), AdminError> {
        tx.audit(verify::now(), self.actor, action, target).await?;
        self.commit(tx).await
    }

    async fn commit(&self, tx: Transaction) -> Result<(), AdminError> {
        Ok(tx.commit().await?)
    }
}

impl Auth {
    /// An access token without a login.
    pub async fn issue_token(&self, subject: &str, life: Duration, actor: &str) -> Result<String, AdminError> {
        if !(Duration::from_secs(1)..=Type::Access.longest_life()).contains(&life) {
            return Err(AdminError::Lifetime);
        }
        let principal = existing(&self.store, subject).await?;
        if !principal.may_log_in() {
            return Err(AdminError::Disabled(subject.to_owned()));
        }
        let state = self.state.current().await?;
        let issued = issue::access_token(&self.tokens, &state, &principal, Limits::life(life))?;
        Admin::new(&self.store, actor).audit_and_commit(self.store.begin().await?, "token.issue", subject).await?;
        Ok(issued.token)
    }

    /// A person's password as it is kept. Hashing takes a core like checking does.
    pub async fn hashed(&self, password: String) -> Result<String, AdminError> {
        check_length(&password)?;
        Ok(self.passwords.hash(password).await?)
    }
}

async fn existing(store: &Store, subject: &str) -> Result<Principal, AdminError> {
    store.principal(subject).await?.ok_or_else(|| AdminError::Unknown(subject.to_owned()))
}

fn checked_secret(secret: String) -> Result<String, AdminError> {
    if secret.len() < MIN_CLIENT_SECRET { Err(AdminError::SecretTooShort) } else { Ok(secret) }
}

fn hash_password(password: &str) -> Result<String, AdminError> {
    check_length(password)?;
    Ok(password::hash(password)?)
}

fn check_length(password: &str) -> Result<(), AdminError> {
    if password.len() > *password::LENGTH.end() {
        return Err(AdminError::PasswordTooLong);
    }
    if password.len() < *password::LENGTH.start() {
        return Err(AdminError::PasswordTooShort);
    }
    Ok(())
}

fn validate(principal: &Principal) -> Result<(), AdminError> {
    let tenant = (!principal.tenant.is_empty()).then_some(&principal.tenant);
    for name in principal.roles.iter().chain([&principal.subject]).chain(tenant) {
        if !is_name(name) {
            return Err(AdminError::Name(name.clone()));
        }
    }
    let bytes = principal.roles.iter().map(String::len).sum();
    if bytes > MAX_ROLES {
        return Err(AdminError::RolesTooLong { subject: principal.subject.clone(), bytes });
    }
    Ok(())
}
