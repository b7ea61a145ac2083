//! Roles by their names: who holds them.

use sqlx::Row;

use super::{Store, StoreError, unsigned};

/// A role that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRole {
    /// Its name.
    pub role: String,
    /// How many hold it.
    pub holders: u64,
}

/// Rows that are read at once.
const PAGE: i64 = 500;

impl Store {
    /// The first roles after this name that somebody holds.
    pub async fn held_roles_after(&self, last: &str) -> Result<Vec<HeldRole>, StoreError> {
        let rows = sqlx::query("SELECT role, COUNT(*) FROM roles WHERE role > $1 GROUP BY role ORDER BY role LIMIT $2")
            .bind(last)
            .bind(PAGE)
            .fetch_all(self.connections())
            .await?;
        rows.iter().map(|row| Ok(HeldRole { role: row.try_get(0)?, holders: unsigned(row.try_get(1)?) })).collect()
    }

    /// Whether somebody holds this role.
    pub async fn is_role_held(&self, role: &str) -> Result<bool, StoreError> {
        let found = sqlx::query("SELECT subject FROM roles WHERE role = $1 LIMIT 1").bind(role);
        Ok(found.fetch_optional(self.connections()).await?.is_some())
    }

    /// The first holders of a role after this name.
    pub async fn role_holders_after(&self, role: &str, last: &str) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("SELECT subject FROM roles WHERE role = $1 AND subject > $2 ORDER BY subject LIMIT $3")
            .bind(role)
            .bind(last)
            .bind(PAGE)
            .fetch_all(self.connections())
            .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}
