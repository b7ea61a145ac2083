//! Relations of principals and groups to objects, as services register them.

use sqlx::{AssertSqlSafe, Row};

use super::{Store, StoreError, Transaction, signed, unsigned, within};
use accord_store::ANSWER;

/// The most relations that are read at once.
const PAGE: i64 = 500;

/// That a subject stands in a relation to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// `Product/42`
    pub object: String,
    /// `owner`
    pub relation: String,
    /// `User/ada`, or `Group/sales#member`
    pub subject: String,
}

/// Which relations are listed.
#[derive(Clone, Copy, Debug)]
pub struct Which<'a> {
    /// To objects of this type.
    pub object_type: &'a str,
    /// To this object; empty for all.
    pub object: &'a str,
    /// Of this subject; empty for all.
    pub subject: &'a str,
}

impl Store {
    /// What a subject stands in a relation to, itself or by its groups: the objects of these types, which are groups, and this
    /// one object. Each is `Product/42#owner`, with the number of steps to it; at most `limit` of them, some of them twice.
    pub async fn relations_held(
        &self,
        subject: &str,
        object: &str,
        group_types: &str,
        (depth, limit): (i64, i64),
    ) -> Result<Vec<(String, i64)>, StoreError> {
        // In one question: each goes to the database's own thread and back. The types are names of the configuration.
        let found = format!(
            "WITH RECURSIVE held (name, depth) AS (
                SELECT object || '#' || relation, CAST(1 AS BIGINT) FROM relations
                WHERE subject = $1 AND (type IN ({group_types}) OR object = $2)
                UNION
                SELECT relations.object || '#' || relations.relation, held.depth + 1
                FROM held JOIN relations ON relations.subject = held.name
                WHERE held.depth <= $3 AND (type IN ({group_types}) OR object = $2))
             SELECT name, depth FROM held LIMIT $4"
        );
        let reading = sqlx::query(AssertSqlSafe(found))
            .bind(subject)
            .bind(object)
            .bind(depth)
            .bind(limit)
            .fetch_all(self.connections());
        within(ANSWER, reading).await?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// The first relations after this one, in the order of their objects; none where that was the last.
    pub async fn relations_after(&self, last: &Relation, which: Which<'_>) -> Result<Vec<Relation>, StoreError> {
        let rows = sqlx::query(
            "SELECT object, relation, subject FROM relations
             WHERE type = $1 AND ($2 = '' OR object = $2) AND ($3 = '' OR subject = $3)
               AND (object, relation, subject) > ($4, $5, $6)
             ORDER BY object, relation, subject LIMIT $7",
        )
        .bind(which.object_type)
        .bind(which.object)
        .bind(which.subject)
        .bind(&last.object)
        .bind(&last.relation)
        .bind(&last.subject)
        .bind(PAGE)
        .fetch_all(self.connections())
        .await?;
        let relation = |row: &sqlx::any::AnyRow| {
            Ok(Relation { object: row.try_get(0)?, relation: row.try_get(1)?, subject: row.try_get(2)? })
        };
        rows.iter().map(relation).collect()
    }

    /// The version of all relations.
    pub async fn relations_version(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT value FROM meta WHERE name = 'relations'").fetch_one(self.connections()).await?;
        Ok(unsigned(row.try_get(0)?))
    }

    /// The version of an object; 0 where nothing stands in a relation to it.
    pub async fn object_version(&self, object: &str) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT version FROM objects WHERE name = $1")
            .bind(object)
            .fetch_optional(self.connections())
            .await?;
        row.map_or(Ok(0), |row| Ok(unsigned(row.try_get(0)?)))
    }
}

impl Transaction {
    /// Adds a relation; false where it was there.
    pub async fn add_relation(&mut self, relation: &Relation) -> Result<bool, StoreError> {
        let object_type = relation.object.split('/').next().unwrap_or_default();
        let added = sqlx::query(
            "INSERT INTO relations (object, relation, subject, type) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(&relation.object)
        .bind(&relation.relation)
        .bind(&relation.subject)
        .bind(object_type)
        .execute(&mut *self.inner)
        .await?;
        Ok(added.rows_affected() == 1)
    }

    /// Removes a relation; false where it was not there.
    pub async fn remove_relation(&mut self, relation: &Relation) -> Result<bool, StoreError> {
        let removed = sqlx::query("DELETE FROM relations WHERE object = $1 AND relation = $2 AND subject = $3")
            .bind(&relation.object)
            .bind(&relation.relation)
            .bind(&relation.subject)
            .execute(&mut *self.inner)
            .await?;
        Ok(removed.rows_affected() == 1)
    }

    /// Gives an object another version. One that nothing stands in a relation to has none.
    pub async fn date_object(&mut self, object: &str, version: u64) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO objects (name, version) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET version = excluded.version",
        )
        .bind(object)
        .bind(signed(version))
        .execute(&mut *self.inner)
        .await?;
        sqlx::query("DELETE FROM objects WHERE name = $1 AND NOT EXISTS (SELECT 1 FROM relations WHERE object = $1)")
            .bind(object)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Ends the decisions that were made with relations before this version.
    pub async fn date_relations(&mut self, version: u64) -> Result<(), StoreError> {
        self.set_meta("relations", version).await
    }
}
