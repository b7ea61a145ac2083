//! Who exists, with which roles, and how they prove it.

use accord_token::{Claims, Kind};
use sqlx::Row;

use super::{Store, StoreError, Transaction, signed, unsigned};

/// An identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Stable and unique: a person's name, a client's id.
    pub subject: String,
    /// A person or a program.
    pub kind: Kind,
    /// The tenant; empty where there is only one.
    pub tenant: String,
    /// The roles, sorted.
    pub roles: Vec<String>,
    /// Tokens with a lower epoch are revoked.
    pub epoch: u64,
}

/// The longest name of a person, program, role or service, in bytes: tokens carry it.
const MAX_NAME: usize = 256;

/// Whether this can be a name: names go into tokens, policies and logs, where nobody should have to guess where they end.
pub fn is_name(name: &str) -> bool {
    let good = |letter: char| !letter.is_whitespace() && !letter.is_control();
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(good)
}

impl Principal {
    /// One that was not there before.
    pub fn new(subject: String, kind: Kind, tenant: String, mut roles: Vec<String>) -> Self {
        roles.sort();
        Self { subject, kind, tenant, roles, epoch: 0 }
    }

    /// The identity that a token's claims describe.
    pub fn of(claims: &Claims) -> Self {
        Self {
            subject: claims.sub.clone(),
            kind: claims.kind,
            tenant: claims.tenant.clone(),
            roles: claims.roles.clone(),
            epoch: claims.ep,
        }
    }
}

impl Store {
    /// The identity of this name.
    pub async fn principal(&self, subject: &str) -> Result<Option<Principal>, StoreError> {
        let row = sqlx::query("SELECT kind, tenant, epoch FROM principals WHERE subject = $1")
            .bind(subject)
            .fetch_optional(self.connections())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let roles = sqlx::query("SELECT role FROM roles WHERE subject = $1 ORDER BY role")
            .bind(subject)
            .fetch_all(self.connections())
            .await?;
        let kind = if row.try_get::<String, _>(0)? == "user" { Kind::User } else { Kind::Service };
        Ok(Some(Principal {
            subject: subject.to_owned(),
            kind,
            tenant: row.try_get(1)?,
            epoch: unsigned(row.try_get(2)?),
            roles: roles.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?,
        }))
    }

    /// A person's hashed password; None where there is no such person or no password.
    pub async fn password(&self, subject: &str) -> Result<Option<String>, StoreError> {
        let row =
            sqlx::query("SELECT password FROM principals WHERE subject = $1 AND kind = 'user' AND password <> ''")
                .bind(subject)
                .fetch_optional(self.connections())
                .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// A client's subject and the hash of its secret.
    pub async fn client(&self, id: &str) -> Result<Option<(String, String)>, StoreError> {
        let row = sqlx::query("SELECT subject, secret_hash FROM clients WHERE id = $1")
            .bind(id)
            .fetch_optional(self.connections())
            .await?;
        row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
    }
}

impl Transaction {
    /// Adds an identity; false where the name is taken.
    pub async fn add_principal(&mut self, principal: &Principal, password: &str) -> Result<bool, StoreError> {
        let kind = if principal.kind == Kind::User { "user" } else { "service" };
        let added = sqlx::query(
            "INSERT INTO principals (subject, kind, tenant, password, epoch, epoch_at, epoch_revision)
             VALUES ($1, $2, $3, $4, $5, 0, 0) ON CONFLICT DO NOTHING",
        )
        .bind(&principal.subject)
        .bind(kind)
        .bind(&principal.tenant)
        .bind(password)
        .bind(signed(principal.epoch))
        .execute(&mut *self.inner)
        .await?;
        if added.rows_affected() == 0 {
            return Ok(false);
        }
        for role in &principal.roles {
            self.add_role(&principal.subject, role).await?;
        }
        Ok(true)
    }

    /// Gives a role; false where it was held. The caller raises the subject's epoch, so that new tokens show it.
    pub async fn add_role(&mut self, subject: &str, role: &str) -> Result<bool, StoreError> {
        let added = sqlx::query("INSERT INTO roles (subject, role) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(subject)
            .bind(role)
            .execute(&mut *self.inner)
            .await?;
        Ok(added.rows_affected() == 1)
    }

    /// Takes a role away; false where it was not held. The caller raises the subject's epoch, so that tokens which still
    /// show it end.
    pub async fn remove_role(&mut self, subject: &str, role: &str) -> Result<bool, StoreError> {
        let removed = sqlx::query("DELETE FROM roles WHERE subject = $1 AND role = $2")
            .bind(subject)
            .bind(role)
            .execute(&mut *self.inner)
            .await?;
        Ok(removed.rows_affected() == 1)
    }

    /// Adds a client that acts as the subject.
    pub async fn add_client(&mut self, id: &str, subject: &str, secret_hash: &str) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO clients (id, subject, secret_hash) VALUES ($1, $2, $3)")
            .bind(id)
            .bind(subject)
            .bind(secret_hash)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}
