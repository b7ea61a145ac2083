//! Who exists, with which roles, and how they prove it.

use std::collections::HashMap;

use accord_token::{Claims, Kind};
use sqlx::{AssertSqlSafe, Row, any::AnyRow};

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
    /// Whether it may log in.
    pub standing: Standing,
}

/// Whether somebody may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// They may.
    Active,
    /// Not now.
    Disabled,
    /// There is nobody of this name any more. The row stays for its epoch, by which what was issued to the name before stays
    /// revoked when the name is given again.
    Removed,
}

impl Standing {
    fn code(self) -> i64 {
        match self {
            Self::Active => 0,
            Self::Disabled => 1,
            Self::Removed => 2,
        }
    }

    fn of(code: i64) -> Self {
        match code {
            0 => Self::Active,
            1 => Self::Disabled,
            // What is not known lets nobody in.
            _ => Self::Removed,
        }
    }
}

/// A program that logs in with a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// As whom it acts.
    pub subject: String,
    /// The hash of its secret; empty where it has none.
    pub secret_hash: String,
    /// The hash of the secret before that one; empty where there was none.
    earlier_hash: String,
    /// Until when that one is valid, in seconds since 1970.
    earlier_until: i64,
    /// Rises with each change of its keys.
    pub keys_version: u64,
}

/// What a secret is to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownSecret {
    /// Its newest one.
    Newest,
    /// The one before, valid or not, which another has followed: a file that has it is behind the store, and may be so since it leaked.
    Earlier,
    /// Neither of them.
    Other,
}

impl Client {
    /// The hashes of the secrets that are valid at this moment: one, or two for a while after a rotation; none where the client has
    /// keys alone.
    pub fn hashes(&self, now: i64) -> impl Iterator<Item = &str> {
        let earlier = self.earlier_until(now).map(|_| self.earlier_hash.as_str());
        std::iter::once(self.secret_hash.as_str()).filter(|hash| !hash.is_empty()).chain(earlier)
    }

    /// What the secret of this hash is to it.
    pub fn known_secret(&self, hash: &str) -> KnownSecret {
        if hash == self.secret_hash {
            KnownSecret::Newest
        } else if hash == self.earlier_hash {
            KnownSecret::Earlier
        } else {
            KnownSecret::Other
        }
    }

    /// Until when the secret before the newest is valid; None where it is not.
    pub fn earlier_until(&self, now: i64) -> Option<i64> {
        (!self.earlier_hash.is_empty() && now < self.earlier_until).then_some(self.earlier_until)
    }
}

/// Whom a list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Everybody.
    Principals,
    /// Those who log in with a client's secret.
    Clients,
}

/// The most principals that are read at once.
const PAGE: i64 = 500;

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
        Self { subject, kind, tenant, roles, epoch: 0, standing: Standing::Active }
    }

    /// Whether it is neither disabled nor removed.
    pub fn may_log_in(&self) -> bool {
        self.standing == Standing::Active
    }

    /// Rises with each change of its roles or standing, and with each revocation; never 0.
    pub fn version(&self) -> u64 {
        self.epoch + 1
    }

    /// The identity that a token's claims describe.
    pub fn of(claims: &Claims) -> Self {
        Self {
            subject: claims.sub.clone(),
            kind: claims.kind,
            tenant: claims.tenant.clone(),
            roles: claims.roles.clone(),
            epoch: claims.ep,
            standing: Standing::Active,
        }
    }
}

impl Store {
    /// The identity of this name.
    pub async fn principal(&self, subject: &str) -> Result<Option<Principal>, StoreError> {
        // In one question: each goes to the database's own thread and back, which takes longer than its answer.
        let found = format!(
            "SELECT {COLUMNS}, role FROM principals LEFT JOIN roles ON roles.subject = principals.subject
             WHERE principals.subject = $1 AND standing < 2 ORDER BY role"
        );
        let rows = sqlx::query(AssertSqlSafe(found)).bind(subject).fetch_all(self.connections()).await?;
        with_roles(&rows)
    }

    /// The first identities after this name, in the order of their names; none where that was the last.
    pub async fn principals_after(&self, last: &str, which: Which) -> Result<Vec<Principal>, StoreError> {
        let clients = match which {
            Which::Principals => "",
            Which::Clients => "AND subject IN (SELECT subject FROM clients)",
        };
        let found = format!(
            "SELECT {COLUMNS} FROM principals WHERE subject > $1 AND standing < 2 {clients} ORDER BY subject LIMIT $2"
        );
        let rows = sqlx::query(AssertSqlSafe(found)).bind(last).bind(PAGE).fetch_all(self.connections()).await?;
        let mut page = rows.iter().map(without_roles).collect::<Result<Vec<_>, _>>()?;
        let Some(newest) = page.last() else { return Ok(page) };
        let roles = sqlx::query("SELECT subject, role FROM roles WHERE subject > $1 AND subject <= $2 ORDER BY role")
            .bind(last)
            .bind(&newest.subject)
            .fetch_all(self.connections())
            .await?;
        let mut by_subject: HashMap<String, Vec<String>> = HashMap::new();
        for row in roles {
            by_subject.entry(row.try_get(0)?).or_default().push(row.try_get(1)?);
        }
        for principal in &mut page {
            principal.roles = by_subject.remove(&principal.subject).unwrap_or_default();
        }
        Ok(page)
    }

    /// A person's hashed password, and their epoch; None where there is no such person or no password.
    pub async fn password(&self, subject: &str) -> Result<Option<(String, u64)>, StoreError> {
        let row = sqlx::query(
            "SELECT password, epoch FROM principals
             WHERE subject = $1 AND kind = 'user' AND password <> '' AND standing = 0",
        )
        .bind(subject)
        .fetch_optional(self.connections())
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some((row.try_get(0)?, unsigned(row.try_get(1)?))))
    }

    /// The client of this id.
    pub async fn client(&self, id: &str) -> Result<Option<Client>, StoreError> {
        let found = format!("SELECT {CLIENT_COLUMNS} FROM clients WHERE id = $1");
        let row = sqlx::query(AssertSqlSafe(found)).bind(id).fetch_optional(self.connections()).await?;
        row.map(|row| client(&row, 0)).transpose()
    }

    /// The client of this id, and as whom it acts; None where nobody of that name is left.
    pub async fn client_with_principal(&self, id: &str) -> Result<Option<(Client, Option<Principal>)>, StoreError> {
        // In one question, as for a principal: each grant of a client asks it.
        let found = format!(
            "SELECT {COLUMNS}, role, {CLIENT_COLUMNS} FROM clients
             LEFT JOIN principals ON principals.subject = clients.subject AND standing < 2
             LEFT JOIN roles ON roles.subject = principals.subject WHERE clients.id = $1 ORDER BY role"
        );
        let rows = sqlx::query(AssertSqlSafe(found)).bind(id).fetch_all(self.connections()).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let is_there = row.try_get::<Option<String>, _>(0)?.is_some();
        let principal = if is_there { with_roles(&rows)? } else { None };
        Ok(Some((client(row, 6)?, principal)))
    }
}

/// What [`without_roles`] reads.
const COLUMNS: &str = "principals.subject, kind, tenant, epoch, standing";

/// What [`client`] reads.
const CLIENT_COLUMNS: &str = "clients.subject, secret_hash, earlier_hash, earlier_until, keys_version";

/// The identity in these rows, each of which has one of its roles in the column after [`COLUMNS`], or NULL where it has none.
fn with_roles(rows: &[AnyRow]) -> Result<Option<Principal>, StoreError> {
    let Some(row) = rows.first() else { return Ok(None) };
    let roles = rows.iter().filter_map(|row| row.try_get(5).transpose()).collect::<Result<_, _>>()?;
    Ok(Some(Principal { roles, ..without_roles(row)? }))
}

/// The client in this row, from this column on.
fn client(row: &AnyRow, at: usize) -> Result<Client, StoreError> {
    Ok(Client {
        subject: row.try_get(at)?,
        secret_hash: row.try_get(at + 1)?,
        earlier_hash: row.try_get(at + 2)?,
        earlier_until: row.try_get(at + 3)?,
        keys_version: unsigned(row.try_get(at + 4)?),
    })
}

fn without_roles(row: &AnyRow) -> Result<Principal, StoreError> {
    Ok(Principal {
        subject: row.try_get(0)?,
        kind: if row.try_get::<String, _>(1)? == "user" { Kind::User } else { Kind::Service },
        tenant: row.try_get(2)?,
        epoch: unsigned(row.try_get(3)?),
        standing: Standing::of(row.try_get(4)?),
        roles: Vec::new(),
    })
}

impl Transaction {
    /// Adds an identity; false where the name is taken. One that was removed comes back with the epoch that it had.
    pub async fn add_principal(&mut self, principal: &Principal, password: &str) -> Result<bool, StoreError> {
        let kind = if principal.kind == Kind::User { "user" } else { "service" };
        let added = sqlx::query(
            "INSERT INTO principals (subject, kind, tenant, password, epoch, epoch_at, epoch_revision)
             VALUES ($1, $2, $3, $4, $5, 0, 0)
             ON CONFLICT (subject) DO UPDATE
             SET kind = excluded.kind, tenant = excluded.tenant, password = excluded.password, standing = 0
             WHERE principals.standing = 2",
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

    /// Gives a client another secret, with the one before for a while.
    pub async fn rotate_client(&mut self, id: &str, hash: &str, earlier: &str, until: i64) -> Result<(), StoreError> {
        sqlx::query("UPDATE clients SET secret_hash = $2, earlier_hash = $3, earlier_until = $4 WHERE id = $1")
            .bind(id)
            .bind(hash)
            .bind(earlier)
            .bind(until)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Says whether an identity may log in; false where there is none of this name.
    pub async fn set_standing(&mut self, subject: &str, standing: Standing) -> Result<bool, StoreError> {
        let set = sqlx::query("UPDATE principals SET standing = $2 WHERE subject = $1 AND standing < 2")
            .bind(subject)
            .bind(standing.code())
            .execute(&mut *self.inner)
            .await?;
        Ok(set.rows_affected() == 1)
    }

    /// Takes away everything that an identity could log in with, and its roles.
    pub async fn strip(&mut self, subject: &str) -> Result<(), StoreError> {
        for statement in [
            "DELETE FROM clients WHERE subject = $1",
            "DELETE FROM roles WHERE subject = $1",
            "DELETE FROM second_factors WHERE subject = $1",
            "DELETE FROM reset_codes WHERE subject = $1",
            "DELETE FROM api_keys WHERE subject = $1",
            "DELETE FROM relations WHERE subject IN ('User/' || $1, 'Service/' || $1)",
            "DELETE FROM links WHERE subject = $1",
            "DELETE FROM certificate_identities WHERE subject = $1",
            "DELETE FROM device_codes WHERE subject = $1",
            "UPDATE principals SET password = '' WHERE subject = $1",
        ] {
            sqlx::query(statement).bind(subject).execute(&mut *self.inner).await?;
        }
        Ok(())
    }
}
