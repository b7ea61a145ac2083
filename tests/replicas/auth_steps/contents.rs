//! Everything that auth's store has, and what a change adds to it and takes from it.

use std::{collections::BTreeMap, fmt};

use anyhow::Result;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

const TABLES: &str = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'";

/// The rows of each table, in an order of their own. When an API key was last used is left out: nobody waits for its being written down.
pub(super) struct Contents(BTreeMap<String, Vec<String>>);

/// How many rows of each table went and how many came; one that was changed does both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change(BTreeMap<String, (usize, usize)>);

impl Contents {
    pub(super) async fn read(store: &str) -> Result<Self> {
        let mut connection = PgConnection::connect(store).await?;
        let mut contents = BTreeMap::new();
        for table in sqlx::query(TABLES).fetch_all(&mut connection).await? {
            let table: String = table.try_get(0)?;
            let rows = format!("SELECT (to_jsonb(found) - 'used_at')::text FROM {table} AS found ORDER BY 1");
            let rows = sqlx::query(AssertSqlSafe(rows)).fetch_all(&mut connection).await?;
            contents.insert(table, rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?);
        }
        connection.close().await?;
        Ok(Self(contents))
    }

    /// What has changed since.
    pub(super) fn change_to(&self, later: &Self) -> Change {
        let change = |(table, rows): (&String, &Vec<String>)| {
            let before = self.0.get(table).map(Vec::as_slice).unwrap_or_default();
            let went = before.iter().filter(|row| rows.binary_search(row).is_err()).count();
            let came = rows.iter().filter(|row| before.binary_search(row).is_err()).count();
            (went + came > 0).then(|| (table.clone(), (went, came)))
        };
        Change(later.0.iter().filter_map(change).collect())
    }
}

impl Change {
    /// That of two such changes, which are of other rows.
    pub(super) fn twice(&self) -> Self {
        Self(self.0.iter().map(|(table, (went, came))| (table.clone(), (2 * went, 2 * came))).collect())
    }

    /// The same of one table alone.
    pub(super) fn of(&self, table: &str) -> Option<(usize, usize)> {
        self.0.get(table).copied()
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nothing() {
            return formatter.write_str("nothing");
        }
        let tables = self.0.iter().map(|(table, (went, came))| format!("{table} -{went} +{came}"));
        formatter.write_str(&tables.collect::<Vec<_>>().join(", "))
    }
}
